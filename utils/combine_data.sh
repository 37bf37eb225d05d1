#!/usr/bin/env bash
# Put several data directories together: combine_data.sh data/all data/a data/b
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -P -m deepspeaker.datadir.combine "$0" "$@"
