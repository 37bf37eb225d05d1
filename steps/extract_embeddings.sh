#!/usr/bin/env bash
# Embeddings of one data directory's utterances, and their means for each speaker.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

nj=4
cmd=run.pl
use_gpu=false
conf=

help_message="Usage: $0 [options] CHECKPOINT DATA_DIR OUT_DIR
Reads DATA_DIR/{feats.scp,vad.scp,spk2utt}. Writes OUT_DIR/{embedding,spk_embedding}.{ark,scp}; logs go to OUT_DIR/log.
  --nj N                number of parallel jobs; on a GPU one ($nj)
  --cmd CMD             engine that runs the jobs: run.pl, slurm.pl ... ($cmd)
  --use-gpu true|false  run on a GPU instead of CPUs ($use_gpu)
  --conf FILE           configuration whose [embedding] is used (the checkpoint's)"
. "$here/../path.sh"
. parse_options.sh
. jobs.sh
if [ $# -ne 3 ]; then
  echo "$help_message" >&2
  exit 1
fi
checkpoint=$1 data=${2%/} out=${3%/}

for file in "$checkpoint" "$data/feats.scp" "$data/spk2utt"; do
  if [ ! -s "$file" ]; then
    echo "extract_embeddings.sh: no $file: run the stages before this one" >&2
    exit 1
  fi
done
check_numbers nj
device=cpu
nj=$(at_most "$nj" "$(wc -l <"$data/feats.scp")")
if $use_gpu; then
  device=cuda
  nj=1
  cmd="$cmd --gpu 1"
fi
mkdir -p "$out/log"
run_jobs "embeddings of $(basename "$data")" "$out" "$nj" "$cmd" "$out/log/extract_embeddings.JOB.log" \
  "$here/extract_embeddings.py" ${conf:+--conf "$conf"} --device "$device" --job JOB --nj "$nj" \
  "$checkpoint" "$data" "$out"
run "$here/extract_embeddings.py" --join --nj "$nj" "$checkpoint" "$data" "$out"
