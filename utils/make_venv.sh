#!/usr/bin/env bash
# utils/make_venv.sh PYTHON ROOT: makes ROOT/.venv with the packages of ROOT/requirements.txt, in the versions of
# ROOT/constraints.txt. A half-made .venv is made anew; a second call at the same time waits for the first.
set -euo pipefail
python=$1 root=$2 log=$2/.venv/install.log

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "path.sh: Python 3.11 or later is needed, '$python' is not; set PYTHON to one" >&2
  exit 1
fi
exec 9>"$root/.venv.lock"
if command -v flock >/dev/null; then flock 9; fi
if "$root/.venv/bin/python3" "$root/utils/check_requirements.py" "$root/requirements.txt" >/dev/null 2>&1; then
  exit 0
fi
echo "path.sh: making $root/.venv from requirements.txt (once; some minutes)" >&2
"$python" -m venv --clear "$root/.venv"
if ! "$root/.venv/bin/pip" install --disable-pip-version-check \
    -r "$root/requirements.txt" -c "$root/constraints.txt" >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  echo "path.sh: pip failed, its log is $log; run again, or set PYTHON to a Python with requirements.txt" >&2
  exit 1
fi
