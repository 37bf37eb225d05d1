#!/usr/bin/env bash
# A corpus without official parts: CORPUS/<speaker>/<n>.wav. Test speakers are listed; of the rest each gives its first
# utterances to dev, the others train. Then lists for jobs, and a small training set for trying things out.
set -e

nj=2
num_dev=1

. ./cmd.sh
. ./path.sh
. ./utils/parse_options.sh

corpus=$1
data=$2
all=$data/all
mkdir -p $all
( cd $corpus; find . -name '*.wav' ) | sed 's:^\./::' | LC_ALL=en_US.UTF-8 sort -r |
  perl -ne 'm:^([^/]+)/(\d+)\.wav$: || die "bad line $_"; printf("%s-%04d '$corpus'/%s", $1, $2, $_);' > $all/wav.scp
perl -ne 'm/^((\S+)-\d+) / || die; print "$1 $2\n"' < $all/wav.scp > $all/utt2spk
utils/fix_data_dir.sh $all

# test: the speakers of a list; the others in a directory of their own
utils/subset_data_dir.sh --spk-list $corpus/test_speakers.txt $all $data/test
utils/filter_scp.pl --exclude -f 2 $data/test/spk2utt $all/utt2spk > $data/rest.list
utils/subset_data_dir.sh --utt-list $data/rest.list $all $data/rest

# dev: the first of each speaker
awk -v n=$num_dev '{for (i = 2; i <= 1 + n && i <= NF; i++) print $i}' $data/rest/spk2utt > $data/dev.list
utils/subset_data_dir.sh --utt-list $data/dev.list $data/rest $data/dev
cat $data/rest/utt2spk | utils/filter_scp.pl --exclude $data/dev.list | cut -d' ' -f1 > $data/train.list
utils/subset_data_dir.sh --utt-list <(cat $data/train.list) $data/rest $data/train
rm -r $data/rest

# tables for jobs
utils/split_data.sh $data/train $nj
utils/split_data.sh --per-utt $data/train 3
jobs=
for n in $(seq $nj); do jobs="$jobs $data/job.$n"; done
utils/split_scp.pl --utt2spk=$data/train/utt2spk $data/train/wav.scp $jobs
utils/filter_scps.pl --no-warn JOB=1:$nj $data/job.JOB $data/train/utt2spk $data/job_utt2spk.JOB
$train_cmd JOB=1:$nj $data/log/count.JOB.log wc -l \< $data/job.JOB \> $data/count.JOB

# to try things out
utils/subset_data_dir.sh $data/train 3 $data/train_3
utils/subset_data_dir.sh --first $data/train 2 $data/train_first2
utils/subset_data_dir.sh --last $data/train 2 $data/train_last2
utils/subset_data_dir.sh --per-spk $data/train 1 $data/train_1each
utils/subset_scp.pl --quiet 100 $data/train/wav.scp | cut -d' ' -f1 | utils/shuffle_list.pl --srand 7 | sort > $data/shuffled
