#!/usr/bin/env bash
# The training set with its augmented copies: makes TRAIN_DIR_sp0.9, TRAIN_DIR_noise, ..., their features, and joins all
# into TRAIN_DIR_augmented. TRAIN_DIR has its features already (make_fbank.sh).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

nj=4
cmd=run.pl
conf=$here/../egs/voxceleb/conf/deep_speaker.toml
kinds=
musan=
rirs=
seed=0
no_pipes=false

help_message="Usage: $0 [options] TRAIN_DIR ARK_DIR [ROOMS_DIR]
Copies have no audio of their own: it is changed when it is read. Archives of their features go into ARK_DIR. Rooms are
simulated into ROOMS_DIR (rirs beside ARK_DIR) where the kind reverb has no --rirs; this needs pyroomacoustics.
  --conf FILE             configuration of features and of copies' speeds ($conf)
  --kinds KINDS           kinds of copies: 'speed noise music babble reverb', or some ([augment] copies of the conf)
  --musan FOLDER          MUSAN, for noise, music and babble
  --rirs FOLDER           RIRS_NOISES, for reverb
  --seed N                of the sounds, levels and rooms that are drawn ($seed)
  --nj N                  parallel jobs ($nj)
  --cmd CMD               how jobs are run: run.pl, slurm.pl ... ($cmd)
  --no-pipes true|false   run no commands of wav.scp: refuse it if it has any ($no_pipes)"
. "$here/../path.sh"
. parse_options.sh
. jobs.sh
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  echo "$help_message" >&2
  exit 1
fi
train=${1%/} ark=${2%/} rooms=${3:-$(dirname "$2")/rirs}

if [ ! -s "$train/feats.scp" ]; then
  echo "augment_training_set.sh: no $train/feats.scp: make its features first (steps/make_fbank.sh)" >&2
  exit 1
fi
if [ -z "$kinds" ]; then kinds=$(conf_value.py "$conf" augment copies); fi
if [ -z "$kinds" ]; then
  echo "augment_training_set.sh: no --kinds given, and [augment] copies of $conf is empty" >&2
  exit 1
fi
listed=$(list_copies.py --speeds "$(conf_value.py "$conf" augment speeds)" "$kinds" "$train")
mapfile -t copies <<<"$listed"
needs=" $(cut -d ' ' -f 2 <<<"$listed" | paste -sd ' ') "
if [[ $needs == *" musan "* && -z $musan ]]; then
  echo "augment_training_set.sh: --kinds '$kinds' needs --musan, the folder where MUSAN lies" >&2
  exit 1
fi
if [[ $needs == *" rirs "* && -z $rirs ]]; then
  rirs=$rooms
  run "$here/simulate_rooms.py" --seed "$seed" "$rirs"
fi
made=()
for line in "${copies[@]}"; do
  read -r kind value copy <<<"$line"
  case $value in
    musan) value=$musan ;;
    rirs) value=$rirs ;;
  esac
  run "$here/augment_data_dir.py" --seed "$seed" "--$kind" "$value" "$train" "$copy"
  run "$here/make_fbank.sh" --nj "$nj" --cmd "$cmd" --conf "$conf" --no-pipes "$no_pipes" "$copy" "$copy/log" "$ark"
  made+=("$copy")
done
run combine_data.sh "${train}_augmented" "$train" "${made[@]}"
