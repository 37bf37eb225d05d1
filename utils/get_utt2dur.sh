#!/usr/bin/env bash
# Write data/train/utt2dur, seconds of each utterance: get_utt2dur.sh data/train
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -P -m deepspeaker.datadir.durations "$0" "$@"
