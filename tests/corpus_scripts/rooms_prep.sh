#!/usr/bin/env bash
# The same speakers in several rooms, near and far from the microphone: CORPUS/<condition>/<speaker>_<n>.flac. One data
# directory for each condition, then all together, with the condition in the utterances' names (speakers stay
# speakers), and once more with every condition's speakers as speakers of their own.
. ./path.sh
set -e

if [ "$#" -lt 3 ]; then
  echo "usage: $0 <corpus> <data> <condition>..." && exit 1
fi
corpus=$1; data=$2; shift 2

renamed=
apart=
for condition in "$@"; do
  dir=$data/$condition
  mkdir -p $dir
  ls $corpus/$condition/*.flac > $dir/flist
  for f in `cat $dir/flist`; do
    name=`basename $f .flac | sed s/_/-/`
    echo "$name flac_reader $f |"
  done | sed 's/flac_reader/cat/' > $dir/wav.scp
  awk '{split($1, a, "-"); print $1, a[1]}' $dir/wav.scp > $dir/utt2spk
  awk -v c=$condition '{print $1, c}' $dir/wav.scp > $dir/utt2room
  utils/fix_data_dir.sh $dir > /dev/null || exit 1

  utils/copy_data_dir.sh --utt-suffix "-$condition" $dir ${dir}_renamed
  awk -v c=$condition '{print $1 "-" c, c}' $dir/utt2room > ${dir}_renamed/utt2room
  renamed="$renamed ${dir}_renamed"

  utils/copy_data_dir.sh --utt-prefix "$condition-" --spk-prefix "$condition-" $dir ${dir}_apart
  apart="$apart ${dir}_apart"
done

utils/combine_data.sh --extra-files "utt2room" $data/all $renamed
utils/combine_data.sh $data/apart $apart
for dir in $data/all $data/apart; do
  utils/validate_data_dir.sh --no-text --no-feats $dir
done
