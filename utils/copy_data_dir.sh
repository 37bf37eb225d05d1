#!/usr/bin/env bash
# Copy a data directory, with other ids if asked for: copy_data_dir.sh --utt-suffix -noise data/a data/b
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -P -m deepspeaker.datadir.copy "$0" "$@"
