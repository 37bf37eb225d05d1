# shellcheck shell=bash
# The environment of every script; source it. $PYTHON (default: the active python3) is used if it satisfies
# requirements.txt; otherwise .venv is made with it, once, at the repository's root.
export LC_ALL=C PYTHONUNBUFFERED=1
DEEPSPEAKER_ROOT=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
if [ "${DEEPSPEAKER_PYTHON:-}" != "$(command -v python3)" ]; then
  for _python in "${PYTHON:-python3}" "$DEEPSPEAKER_ROOT/.venv/bin/python3"; do
    _bin=$("$_python" "$DEEPSPEAKER_ROOT/utils/check_requirements.py" \
      "$DEEPSPEAKER_ROOT/requirements.txt" 2>/dev/null) && break
  done
  if [ -z "$_bin" ]; then
    bash "$DEEPSPEAKER_ROOT/utils/make_venv.sh" "${PYTHON:-python3}" "$DEEPSPEAKER_ROOT" || return 1
    _bin=$DEEPSPEAKER_ROOT/.venv/bin
  fi
  PATH=$_bin:$PATH
  export DEEPSPEAKER_PYTHON=$_bin/python3
  unset _python _bin
fi
case ":$PATH:" in
  *":$DEEPSPEAKER_ROOT/utils:"*) ;;
  *) PATH=$DEEPSPEAKER_ROOT/utils:$PWD:$PATH ;;
esac
case ":${PYTHONPATH:-}:" in
  *":$DEEPSPEAKER_ROOT:"*) ;;
  *) PYTHONPATH=$DEEPSPEAKER_ROOT${PYTHONPATH:+:$PYTHONPATH} ;;
esac
export PATH PYTHONPATH
# By default glibc returns freed memory to the kernel, which clears it page by page for the next tensor: keep it.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-33554432}" MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-536870912}"
