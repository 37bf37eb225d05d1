#!/usr/bin/env bash
# Sort a data directory's files and keep what all of them have: fix_data_dir.sh data/train
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -P -m deepspeaker.datadir.fix "$0" "$@"
