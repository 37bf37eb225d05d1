#!/usr/bin/env bash
# A data directory with some of another's utterances: subset_data_dir.sh --first data/a 100 data/b
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -P -m deepspeaker.datadir.subset "$0" "$@"
