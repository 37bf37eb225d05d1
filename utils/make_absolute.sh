#!/usr/bin/env bash
# Print the absolute path of a file or folder, symbolic links followed: make_absolute.sh path
set -euo pipefail

if [ $# -ne 1 ]; then
  echo "usage: make_absolute.sh path" >&2
  exit 1
fi
if ! readlink -f -- "$1"; then
  echo "make_absolute.sh: no such folder $(dirname -- "$1")" >&2
  exit 1
fi
