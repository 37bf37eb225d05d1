#!/usr/bin/env bash
# Write data/train/reco2dur, seconds of each recording: get_reco2dur.sh data/train
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -P -m deepspeaker.datadir.durations "$0" "$@"
