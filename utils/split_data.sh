#!/usr/bin/env bash
# Split a data directory into data/train/split8/{1..8}: split_data.sh [--per-utt] data/train 8
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -P -m deepspeaker.datadir.split "$0" "$@"
