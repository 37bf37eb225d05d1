#!/usr/bin/env bash
# Evaluates a model or a checkpoint on one more test set: features, embeddings, scores and metrics.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

nj=4
cmd=run.pl
use_gpu=false
no_pipes=false

help_message="Usage: $0 [options] MODEL DATA_DIR OUT_DIR
Reads DATA_DIR/{wav.scp,utt2spk,trials} and writes nothing there. Writes OUT_DIR/metrics.json, and features, embeddings
and scores beside it. A model.pt is judged as its users meet it: by its own back-end and calibration, with actDCF, Cllr,
and misses and false accepts at its default prior and at 0.5. Any other checkpoint scores by cosine. Checks the trials, lines 'id1 id2 target|nontarget', before it computes anything.
  --nj N                 number of parallel jobs ($nj)
  --cmd CMD              engine that runs the jobs: run.pl, slurm.pl ... ($cmd)
  --use-gpu true|false   compute embeddings on a GPU instead of CPUs ($use_gpu)
  --no-pipes true|false  refuse a wav.scp with commands instead of running them ($no_pipes)"
. "$here/../path.sh"
. parse_options.sh
. jobs.sh
if [ $# -ne 3 ]; then
  echo "$help_message" >&2
  exit 1
fi
model=$1 data=${2%/} out=${3%/}
for file in "$model" "$data"/{wav.scp,utt2spk,trials}; do
  if [ ! -s "$file" ]; then
    echo "evaluate.sh: no $file" >&2
    exit 1
  fi
done

mine=$out/data/$(basename "$data")
mkdir -p "$mine"
for file in wav.scp segments reco2file_and_channel augment utt2spk trials enroll; do
  if [ -f "$data/$file" ]; then cp "$data/$file" "$mine/"; else rm -f "$mine/$file"; fi
done
run check_data.py --trials-only "$mine"
enroll=()
if [ -f "$mine/enroll" ]; then enroll=(--enroll "$mine/enroll"); fi
utt2spk_to_spk2utt.pl "$mine/utt2spk" >"$mine/spk2utt"
run "$here/write_conf.py" "$model" "$out/conf.toml"
run "$here/make_fbank.sh" --nj "$nj" --cmd "$cmd" --conf "$out/conf.toml" --no-pipes "$no_pipes" \
  "$mine" "$out/log" "$out/fbank"
run "$here/extract_embeddings.sh" --nj "$nj" --cmd "$cmd" --use-gpu "$use_gpu" "$model" "$mine" "$out/embeddings"
run "$here/unpack_model.py" "$model" "$out/model"

scores=() decisions=()
if [ -f "$out/model/calibration.json" ]; then
  learnt=(--cohort-top "$(conf_value.py "$out/conf.toml" scoring cohort_top)")
  if [ -f "$out/model/cohort.scp" ]; then learnt+=(--cohort "$out/model/cohort.scp"); fi
  scores=(--backend "$(cat "$out/model/backend")" "${learnt[@]}")
  if [ -d "$out/model/plda" ]; then scores+=(--plda "$out/model/plda"); fi
fi
run "$here/score_trials.py" "${scores[@]}" "${enroll[@]}" "$mine/trials" "$out/embeddings/embedding.scp" "$out/scores"
rm -f "$out/llr" "$out"/quality.*
if [ -f "$out/model/calibration.json" ]; then
  quality=()
  if [ -s "$out/model/qualities" ]; then
    # shellcheck disable=SC2046  # qualities are words
    run "$here/measure_quality.py" "${learnt[@]}" "${enroll[@]}" "$mine/trials" "$out/embeddings/embedding.scp" \
      "$out/quality" --quality $(cat "$out/model/qualities")
    quality=(--quality "$out"/quality.*)
  fi
  run "$here/calibrate_scores.py" "$out/model/calibration.json" "$mine/trials" "$out/scores" "$out/llr" "${quality[@]}"
  decisions=(--llr "$out/llr" --prior "$(conf_value.py "$out/conf.toml" scoring calibration_prior)")
fi
run "$here/compute_metrics.py" --json "${decisions[@]}" --utt2spk "$mine/utt2spk" "${enroll[@]}" "$out/scores" \
  "$mine/trials" >"$out/.metrics.json"
mv "$out/.metrics.json" "$out/metrics.json"
run "$here/compute_metrics.py" "${decisions[@]}" "$out/scores" "$mine/trials"
