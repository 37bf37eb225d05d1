#!/usr/bin/env bash
# Check a data directory: validate_data_dir.sh [--no-feats] [--no-text] [--no-wav] data/train
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -P -m deepspeaker.datadir.check "$0" "$@"
