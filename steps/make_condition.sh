#!/usr/bin/env bash
# A copy of a data directory in another condition, with noise or in rooms, and the copy's features.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

condition=
seed=0
conf=$here/../egs/voxceleb/conf/deep_speaker.toml
nj=4
cmd=run.pl
no_pipes=false

help_message="Usage: $0 [options] DATA_DIR SOUNDS_DIR [ARK_DIR]
Makes DATA_DIR_CONDITION, a copy of DATA_DIR and its trials with noise in each utterance (0 to 15 dB below it), or in
rooms. The sounds are the recipe's own, made into SOUNDS_DIR/SET_CONDITION (SET is DATA_DIR's name); each set has others.
Archives go into ARK_DIR (DATA_DIR_CONDITION/data).
  --condition NAME        noise or reverb
  --seed N                seed of the sounds, and of which are drawn ($seed)
  --conf FILE             configuration whose [features] are used ($conf)
  --nj N                  number of parallel jobs ($nj)
  --cmd CMD               engine that runs the jobs: run.pl, slurm.pl ... ($cmd)
  --no-pipes true|false   refuse a wav.scp with commands instead of running them ($no_pipes)"
. "$here/../path.sh"
. parse_options.sh
. jobs.sh
if [ $# -lt 2 ] || [ $# -gt 3 ] || [ -z "$condition" ]; then
  echo "$help_message" >&2
  exit 1
fi
data=${1%/}
copy=${data}_$condition
sounds=${2%/}/$(basename "$copy")

of_the_name=$(basename "$copy" | cksum | cut -d ' ' -f 1)
run "$here/make_sounds.py" --kinds "$condition" --number 200 --seed "$((seed + of_the_name))" \
  --rate "$(conf_value.py "$conf" features sample_rate)" "$sounds"
run "$here/augment_data_dir.py" --seed "$seed" "--$condition" "$sounds" "$data" "$copy"
run "$here/make_fbank.sh" --nj "$nj" --cmd "$cmd" --conf "$conf" --no-pipes "$no_pipes" "$copy" "$copy/log" \
  "${3:-$copy/data}"
