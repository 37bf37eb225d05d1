#!/usr/bin/env bash
# Readings in many accents: CORPUS/<reader>/<reader>_<sentence>.{wav,txt} and a table of readers (reader|age|sex).
# Spellings are made uniform by a map, sentences of a list are left out.
set -euo pipefail

stage=0
upper=false
skip=
spellings=

echo "$0 $*"
[ -f ./path.sh ] && . ./path.sh
. utils/parse_options.sh

if [ $# -ne 2 ]; then
  echo "Usage: $0 [--stage N] [--upper true|false] [--skip LIST] [--spellings MAP] <corpus> <data-dir>" >&2
  exit 1
fi
corpus=$1
data=$2

if [ $stage -le 0 ]; then
  mkdir -p $data
  rm -f $data/{text,wav.scp,utt2spk,spk2gender}
  for text in $corpus/*/*.txt; do
    utt=$(basename $text .txt | tr _ -)
    echo "$utt ${text%.txt}.wav" >>$data/wav.scp
    echo "$utt ${utt%%-*}" >>$data/utt2spk
    echo "$utt $(tr -d '\r' <$text | tr '\n' ' ' | sed 's/ *$//')" >>$data/text
  done
  awk -F'|' 'NR > 1 {print $1, tolower(substr($3, 1, 1))}' $corpus/readers.txt | sort >$data/spk2gender
fi

if [ $stage -le 1 ]; then
  if $upper; then
    awk '{u = $1; $1 = ""; print u toupper($0)}' $data/text >$data/text.upper
    mv $data/text.upper $data/text
  fi
  if [ -n "$spellings" ]; then
    utils/apply_map.pl -f 2- --permissive $spellings <$data/text >$data/text.mapped 2>/dev/null
    mv $data/text.mapped $data/text
  fi
  if [ -n "$skip" ]; then
    utils/filter_scp.pl --exclude $skip $data/text >$data/text.kept
    mv $data/text.kept $data/text
  fi
fi

if [ $stage -le 2 ]; then
  utils/fix_data_dir.sh $data
  utils/validate_data_dir.sh --no-feats $data
  cut -d' ' -f2- $data/text | tr ' ' '\n' | sort | uniq -c | sort -k1,1nr -k2,2 | awk '{print $2, $1}' >$data/words
fi
