#!/usr/bin/env bash
# Augmented copies of the training set: makes TRAIN_DIR_sp0.9, TRAIN_DIR_noise, ..., computes their features, and joins
# TRAIN_DIR and its copies into TRAIN_DIR_augmented. TRAIN_DIR has its features (or sound) already (make_fbank.sh).
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

help_message="Usage: $0 [options] TRAIN_DIR ARK_DIR
Makes augmented copies of TRAIN_DIR and writes TRAIN_DIR_augmented, which joins it with them. Copies store no audio:
the original is changed when it is read. Archives of their features, or with [augment] online of their sound, go into
ARK_DIR. --musan and --rirs also take a folder that make_sounds.py has made.
  --conf FILE             configuration with [features] and [augment] ($conf)
  --kinds KINDS           kinds of copies, of 'speed noise music babble reverb' ([augment] copies of the conf)
  --musan FOLDER          folder of MUSAN, for noise, music and babble
  --rirs FOLDER           folder of RIRS_NOISES, for reverb
  --seed N                seed of the sounds, levels and rooms drawn ($seed)
  --nj N                  number of parallel jobs ($nj)
  --cmd CMD               engine that runs the jobs: run.pl, slurm.pl ... ($cmd)
  --no-pipes true|false   refuse a wav.scp with commands instead of running them ($no_pipes)"
. "$here/../path.sh"
. parse_options.sh
. jobs.sh
if [ $# -ne 2 ]; then
  echo "$help_message" >&2
  exit 1
fi
train=${1%/} ark=${2%/}

makes="feats vad"
if [ "$(conf_value.py "$conf" augment online false)" = true ]; then makes="sound vad"; fi
if [ ! -s "$train/${makes% vad}.scp" ]; then
  echo "augment_training_set.sh: no $train/${makes% vad}.scp: make it first (steps/make_fbank.sh --make '$makes')" >&2
  exit 1
fi
if [ -z "${kinds//[[:space:]]/}" ]; then kinds=$(conf_value.py "$conf" augment copies); fi
if [ -z "$kinds" ]; then
  echo "augment_training_set.sh: no --kinds given, and [augment] copies of $conf is empty" >&2
  exit 1
fi
listed=$(list_copies.py --speeds "$(conf_value.py "$conf" augment speeds)" "$kinds" "$train")
mapfile -t copies <<<"$listed"
needs=" $(cut -d ' ' -f 2 <<<"$listed" | paste -sd ' ') "
for each in musan rirs; do
  if [[ $needs == *" $each "* && -z ${!each} ]]; then
    echo "augment_training_set.sh: --kinds '$kinds' needs --$each, or a folder of sounds that make_sounds.py has made" >&2
    exit 1
  fi
done
made=()
for line in "${copies[@]}"; do
  read -r kind value copy <<<"$line"
  case $value in
    musan) value=$musan ;;
    rirs) value=$rirs ;;
  esac
  run "$here/augment_data_dir.py" --seed "$seed" "--$kind" "$value" "$train" "$copy"
  run "$here/make_fbank.sh" --nj "$nj" --cmd "$cmd" --conf "$conf" --make "$makes" --no-pipes "$no_pipes" \
    "$copy" "$copy/log" "$ark"
  made+=("$copy")
done
run combine_data.sh "${train}_augmented" "$train" "${made[@]}"
