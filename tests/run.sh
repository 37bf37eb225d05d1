#!/usr/bin/env bash
# All tests: linter, type checker, shellcheck where it is installed, pytest. The quick ones take minutes; --long true
# adds the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

long=false

# shellcheck disable=SC2034  # read by parse_options.sh
help_message="Usage: tests/run.sh [--long true] [FILE...|-k EXPRESSION]
  --long true|false   also the tests that take minutes ($long)"
. ./path.sh
. parse_options.sh

if ! check_requirements.py requirements-dev.txt >/dev/null 2>&1; then
  echo "tests/run.sh: installing requirements-dev.txt into $(dirname "$(command -v python3)")" >&2
  python3 -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
fi

ruff check .
mypy # deepspeaker/ and steps/, see pyproject.toml
if command -v shellcheck >/dev/null; then
  find . -path ./.venv -prune -o -name '*.sh' -type f -print0 | xargs -0 shellcheck -x
else
  echo "tests/run.sh: shellcheck is not installed: shell files are not checked" >&2
fi
marks="not long"
if $long; then marks=""; fi
# A file's tests stay together, on one core: two trainings with two threads each on two cores would mostly wait.
cores=$(nproc) # which heeds OMP_NUM_THREADS
export OMP_NUM_THREADS=1
exec python3 -m pytest -n "$cores" --dist loadfile --no-loadscope-reorder --durations 15 -m "$marks" "$@"
