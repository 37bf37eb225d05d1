#!/usr/bin/env bash
# Scores the trial lists of one data directory with every back-end: the calibration set's to fit calibrations, a test
# set's for results.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

conf=
backends=
cohort=
plda=
calibrate=false

help_message="Usage: $0 [options] DATA_DIR PHASE_DIR
Reads PHASE_DIR/embeddings/SET (SET is DATA_DIR's name) and DATA_DIR/{trials*,enroll}. Writes in PHASE_DIR
scores/SET/TRIALS.BACKEND, and quality/SET if [scoring] has qualities. With --calibrate true, also the calibrations,
calibration/BACKEND.json. Otherwise all metrics, scores/SET/TRIALS.BACKEND.json, and for each back-end that has a
calibration the log-likelihood ratios, llr/SET/TRIALS.BACKEND.
  --conf FILE            configuration whose [scoring] is used
  --backends NAMES       back-ends, of 'cosine asnorm plda' ([scoring] backends of the conf)
  --cohort SCP           spk_embedding.scp of the training set, for asnorm and cohort_mean
  --plda DIR             PLDA of train_plda.py or of Kaldi, for plda
  --calibrate true|false fit the calibrations on these trials ($calibrate)"
. "$here/../path.sh"
. parse_options.sh
. jobs.sh
if [ $# -ne 2 ] || [ -z "$conf" ]; then
  echo "$help_message" >&2
  exit 1
fi
data=${1%/} phase=${2%/}
name=$(basename "$data")
embeddings=$phase/embeddings/$name/embedding.scp
if [ ! -s "$embeddings" ]; then
  echo "score_set.sh: no $embeddings: extract the embeddings first (stage 5)" >&2
  exit 1
fi
if [ -z "${backends//[[:space:]]/}" ]; then backends=$(conf_value.py "$conf" scoring backends); fi
qualities=$(conf_value.py "$conf" scoring qualities)
prior=$(conf_value.py "$conf" scoring calibration_prior)
top=$(conf_value.py "$conf" scoring cohort_top)
enroll=()
if [ -f "$data/enroll" ]; then enroll=(--enroll "$data/enroll"); fi
learnt=(--cohort-top "$top" ${cohort:+--cohort "$cohort"})
known=(--utt2spk "$data/utt2spk" "${enroll[@]}")
for table in "$data"/{spk2gender,utt2*}; do
  case $(basename "$table") in
    utt2spk | utt2num_frames | utt2uniq | utt2quality) ;;
    *) if [ -f "$table" ]; then known+=(--breakdown "$table"); fi ;;
  esac
done

lists=("$data"/trials*)
if $calibrate; then lists=("$data/trials"); fi
for trials in "${lists[@]}"; do
  list=$name/$(basename "$trials")
  quality=()
  if [ -n "$qualities" ]; then
    # shellcheck disable=SC2086  # qualities are words
    run "$here/measure_quality.py" "${learnt[@]}" "${enroll[@]}" "$trials" "$embeddings" "$phase/quality/$list" \
      --quality $qualities
    quality=(--quality "$phase/quality/$list".*)
  fi
  for backend in $backends; do
    scores=$phase/scores/$list.$backend
    calibration=$phase/calibration/$backend.json
    run "$here/score_trials.py" --backend "$backend" "${learnt[@]}" ${plda:+--plda "$plda"} "${enroll[@]}" \
      "$trials" "$embeddings" "$scores"
    if $calibrate; then
      run "$here/train_calibration.py" --prior "$prior" "$trials" "$scores" "$calibration" "${quality[@]}"
      continue
    fi
    llr=()
    if [ -f "$calibration" ]; then
      llr=(--llr "$phase/llr/$list.$backend")
      run "$here/calibrate_scores.py" "$calibration" "$trials" "$scores" "${llr[1]}" "${quality[@]}"
    fi
    run "$here/compute_metrics.py" --json "${llr[@]}" "${known[@]}" "$scores" "$trials" >"$scores.json.tmp"
    sync "$scores.json.tmp"
    mv "$scores.json.tmp" "$scores.json"
  done
done
