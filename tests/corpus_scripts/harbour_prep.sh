#!/usr/bin/env bash
# Harbour radio: one folder of recordings, and a table that says who speaks in each.
#   CORPUS/audio/*.wav    CORPUS/doc/operators.csv   (file;berth;operator, with a heading)
# Usage: local/harbour_prep.sh CORPUS DATA_DIR

if [ $# != 2 ]; then
  echo "Usage: $0 <corpus> <data-dir>"
  exit 1
fi

. ./path.sh || exit 1

corpus=$(utils/make_absolute.sh $1) || exit 1
dir=$2
tmp=$dir/local
mkdir -p $tmp || exit 1

[ ! -f $corpus/doc/operators.csv ] && echo "$0: no table of operators in $corpus" && exit 1

find -L $corpus/audio -iname '*.wav' | sort > $tmp/wav.flist
sed -e 's:.*/::' -e 's:\.[wW][aA][vV]$::' $tmp/wav.flist > $tmp/names
paste -d' ' $tmp/names $tmp/wav.flist | sort -k1,1 > $tmp/wav_by_name.scp

# file -> speaker-file, for those files of the table that are there
tail -n +2 $corpus/doc/operators.csv | awk -F';' '{print $1, "op" $3 "-" $1}' | sort -k1,1 |
  utils/filter_scp.pl $tmp/names - > $tmp/name2utt
utils/filter_scp.pl $tmp/name2utt $tmp/wav_by_name.scp | utils/apply_map.pl -f 1 $tmp/name2utt | sort > $dir/wav.scp
awk '{split($2, part, "-"); print $2, part[1]}' $tmp/name2utt | sort > $dir/utt2spk
utils/utt2spk_to_spk2utt.pl < $dir/utt2spk > $dir/spk2utt || exit 1

n=$(wc -l < $dir/wav.scp)
if [ $n -ne $(wc -l < $dir/utt2spk) ]; then
  echo "$0: expected $n lines in $dir/utt2spk"
  exit 1
fi
utils/validate_data_dir.sh --no-feats --no-text $dir || exit 1
utils/data/get_reco2dur.sh --nj 2 $dir || exit 1
echo "$0: $n recordings in $dir"
