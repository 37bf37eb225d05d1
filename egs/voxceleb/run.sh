#!/usr/bin/env bash
# Deep Speaker from a corpus to an EER, in seven stages: makes what is missing or stale. Each stage can also be run
# alone once the earlier ones have finished. RESULTS.md has results with their commands.
# shellcheck disable=SC2034,SC2154  # utils/stages.sh reads and sets variables of this script
set -euo pipefail

corpus=
corpus_opts=
root=
conf=
set=
stage=
stop_stage=7
dry_run=false
strict=false
dir=
name=
nj=$(nproc 2>/dev/null || echo 1)
gpus=
nnodes=1
node_rank=0
rdzv_endpoint=
augment=
musan=
rirs=
conditions=
no_pipes=false
seed=0
phases="softmax triplet"
init=
backend=

help_message="Usage: $0 [options]
Without options: the whole recipe on synthetic speech that it makes itself.
Corpus and configuration
  --corpus NAME          program in local/ that prepares it (voxceleb with --root, else synthetic)
  --root FOLDER          folder where the corpus lies (for synthetic DIR/corpus)
  --corpus-opts OPTS     options of that program, e.g. '--train voxceleb2' (none)
  --conf FILE            configuration, in the caller's folder or the recipe's
                         (conf/demo.toml for synthetic, else conf/deep_speaker.toml)
  --set CHANGES          other values than the conf's, e.g. 'softmax.margin=0 triplet.margin=0.2'; needs --name
  --name NAME            name of the experiment, which lies in exp/NAME (the conf's base name)
  --dir FOLDER           folder for data/, fbank/ and exp/ (the recipe's folder)
Stages: 1 data  2 features  3 softmax  4 triplet  5 embeddings  6 scores  7 report
  --stage N              first stage; it and all that follow are made, up to date or not
                         (none: all that is missing or stale is made, each with its reason)
  --stop-stage N         last stage ($stop_stage)
  --dry-run true|false   only say what would be made and why ($dry_run)
  --strict true|false    make again what another version of the programs made ($strict)
Augmentation and commands in wav.scp
  --augment KINDS        kinds of copies of the training set, of 'speed noise music babble reverb' (the conf's)
  --musan FOLDER         folder of MUSAN, for noise, music and babble (none: made noise, babble of train)
  --rirs FOLDER          folder of RIRS_NOISES, for reverb (none: rooms are made)
  --conditions NAMES     also score the test sets in these conditions, of 'noise reverb' (none)
  --no-pipes true|false  refuse a wav.scp with commands instead of running them ($no_pipes)
Training and scoring
  --gpus N               GPUs of each machine; 0: CPU (all there are)
  --phases NAMES         phases to train, of '$phases', in this order; '' for none, only scoring (both)
  --init CHECKPOINT      trained network to start from, or only to score; [features] and [model] are then its own; with
                         --stage 4 it starts the triplet phase (random weights)
  --seed N               seed of the dev split, the copies, the initial weights and all draws ($seed)
  --backend NAMES        back-ends, of 'cosine asnorm plda', the first of which decides, or auto: the one that dev
                         chooses ([scoring] backends of the conf)
Clusters
  --nj N                 parallel jobs of stages 2 and 5 (number of cores, $nj)
  --train-cmd CMD        engine of stages 2 and 5, e.g. 'slurm.pl --mem 4G' (that of cmd.sh)
  --cuda-cmd CMD         engine of training, e.g. 'slurm.pl --gpu 4'; none: started here (that of cmd.sh)
  --nnodes N             number of machines for stages 3 and 4, which all see DIR: --cuda-cmd starts one job on them,
                         or start run.sh on each, with --node-rank and --rdzv-endpoint ($nnodes)
  --node-rank N          number of this machine, from 0 ($node_rank)
  --rdzv-endpoint H:P    host of machine 0 and a free port of it"

caller=$PWD
command_line=$(printf '%q ' "$0" "$@")
cd "$(dirname "$0")"
. ./path.sh
# shellcheck source=egs/voxceleb/cmd.sh
. ./cmd.sh
. utils/parse_options.sh
. utils/jobs.sh
. utils/stages.sh # stage_due, announce, need, part_done, stage_done: explained there

if [ $# -ne 0 ]; then fail "unexpected argument '$1'; options are of the form --name value, see --help"; fi
resolve_options # fills in what was not given, and sets data, train, exp, start, needs, use_gpu and corpus_program
if $dry_run; then
  show_plan
  exit
fi
claim_dir

if stage_due 1; then
  announce "1: data directories of $corpus ($root)" \
    "Which recordings there are, who speaks in them, and the trials of the test sets. Some speakers then leave train" \
    "for dev, which alone chooses epochs and settings."
  # shellcheck disable=SC2086  # options are words
  run "$corpus_program" $corpus_opts "$root" "$data"
  directories=()
  if [ -d "$data/train" ]; then
    run utils/split_dev.py --seed "$seed" "$data"
    directories=(--train "$data/train")
  fi
  for each in "$data"/{train,dev,test*}; do
    if [ -d "$each" ] && ! is_copy "$each"; then
      run utils/validate_data_dir.sh --no-feats --no-text "$each"
      directories+=("$each")
    fi
  done
  run utils/check_data.py --nj "$nj" "${directories[@]}" || { check_sizes 2 || true; exit 1; } # all faults at once
  part_done 1
  stage_done "$data"
fi

if stage_due 2; then
  if [ ${#parts[@]} -eq 0 ]; then fail "no data directories in $data: run stage 1 first (--stage 1)"; fi
  announce "2: features, $nj jobs" \
    "Log mel filterbank energies of every frame, 100 per second, and which frames are voiced, as Kaldi archives; with" \
    "[augment] online the sound of train."
  space=()
  declare -A makes=() # folder -> kinds of archives, made in one pass
  for part in "${parts[@]}"; do
    IFS=$'\t' read -r part each what <<<"$part"
    need 1 "$each/wav.scp"
    case $part in
      2/sounds/*) space+=(--sounds "$what" "$musan" "$rirs") ;;
      2/copies) space+=(--copies "$each" "$augment" "${read%.scp} vad") ;;
      2/copy/*) space+=(--copies "$each" "$what" "feats vad") ;;
      *) makes[$each]+=" $what" space+=(--make "$each" "$what") ;;
    esac
  done
  if [ ${#space[@]} -gt 0 ]; then run steps/check_space.py --conf "$conf" "${space[@]}" "$dir/fbank"; fi
  features=(--conf "$conf" --nj "$nj" --cmd "$train_cmd" --no-pipes "$no_pipes")
  sound_options=(${musan:+--musan "$musan"} ${rirs:+--rirs "$rirs"})
  if $no_pipes; then sound_options+=(--no-pipes); fi
  for part in "${parts[@]}"; do
    IFS=$'\t' read -r part each what <<<"$part"
    case $part in
      2/sounds/*) # of one kind, for windows and copies
        run steps/make_sounds.py --kinds "$what" "${sound_options[@]}" --speech "$each" --seed "$seed" \
          --rate "$(conf_value.py "$conf" features sample_rate)" "$sounds"
        ;;
      2/copies) # of the training set: at other speeds, with noise, in rooms
        run steps/augment_training_set.sh --kinds "$augment" --musan "${musan:-$sounds}" --rirs "${rirs:-$sounds}" \
          --seed "$seed" "${features[@]}" "$each" "$dir/fbank"
        ;;
      2/copy/*) # of dev or a test set: with noise, in rooms
        run steps/make_condition.sh --condition "$what" --seed "$seed" "${features[@]}" "$each" "$dir/sounds" "$dir/fbank"
        ;;
      *)
        if [ -n "${makes[$each]}" ]; then
          run steps/make_fbank.sh --make "${makes[$each]}" "${features[@]}" "$each" "$each/log" "$dir/fbank"
        fi
        makes[$each]=
        ;;
    esac
    part_done "$part"
  done
  stage_done "$dir/fbank, $data/*/feats.scp"
fi

training=(--conf "$conf" --sounds "$sounds" --seed "$seed" --gpus "$gpus" --engine "$cuda_cmd" --nnodes "$nnodes"
  --node-rank "$node_rank" --rdzv-endpoint "$rdzv_endpoint")

if stage_due 3; then
  need 2 "$train/$read" "$data/dev/feats.scp"
  announce "3: softmax pre-training" \
    "The network learns to name the training speakers: from random weights the triplet loss would collapse." \
    "Expect dev EER to fall within a few epochs; the best epoch is kept."
  run steps/train.sh --phase softmax --init "$init" --replace "$replace" "${training[@]}" \
    "$train" "$data/dev" "$exp/softmax"
  part_done 3
  stage_done "$exp/softmax/final.pt"
fi

if stage_due 4; then
  need 2 "$train/$read" "$data/dev/feats.scp"
  need 3 "$start"
  announce "4: triplet training" \
    "Pulls same-speaker cosines above different-speaker cosines by at least the margin." \
    "Expect the share of active triplets to fall, and dev EER with it."
  run steps/train.sh --phase triplet --init "$start" --replace "$replace" "${training[@]}" \
    "$train" "$data/dev" "$exp/triplet"
  part_done 4
  stage_done "$exp/triplet/final.pt"
fi

if stage_due 5; then
  need_network
  need 1 "$data"/test*/spk2utt
  need 2 "$data"/test*/feats.scp
  announce "5: embeddings, $nj jobs" \
    "One unit-length embedding per utterance of dev and the test sets, from the network that training starts from and" \
    "from each phase's best epoch; also of train where a back-end learns from it."
  for part in "${parts[@]}"; do
    IFS=$'\t' read -r part network each out <<<"$part"
    run steps/extract_embeddings.sh --conf "$conf" --nj "$nj" --cmd "$train_cmd" --use-gpu "$use_gpu" \
      "$network" "$each" "$out"
    part_done "$part"
  done
  stage_done "$exp/*/embeddings"
fi

if stage_due 6; then
  need_network
  IFS=$'\t' read -r -a folders <<<"${parts[0]}" # the phases'
  need 5 "${folders[-1]}"/embeddings/test*/embedding.scp
  announce "6: scores and error rates, back-ends: $backend" \
    "Scores every trial list of every test set, and turns scores into log-likelihood ratios, calibrated on dev: across" \
    "its conditions, against the speakers most alike." \
    "The EER is where misses and false accepts are equally frequent."
  collecting=(--conf "$conf" --phases "$phases" --init "$init")
  if [ "$backend" = auto ]; then
    backend=$(steps/list_backends.py "$conf" "$data/train")
    collecting+=(--choose)
  fi
  for phase in "${folders[@]:1}"; do
    rm -rf "$phase"/{plda,scores,calibration,quality,llr}
    scoring=(--conf "$conf" --backends "$backend")
    if [[ $needs == *cohort* || $needs == *plda* ]]; then need 5 "$phase/embeddings/train/embedding.scp"; fi
    if [[ $needs == *cohort* ]]; then scoring+=(--cohort "$phase/embeddings/train/spk_embedding.scp"); fi
    if [[ $needs == *plda* && $backend == *plda* ]]; then
      run steps/train_plda.py --transform "$(conf_value.py "$conf" scoring plda_transform)" \
        --dim "$(conf_value.py "$conf" scoring plda_dim)" \
        --normalize-length "$(conf_value.py "$conf" scoring plda_normalize_length false)" \
        "$phase/embeddings/train/embedding.scp" "$data/train/utt2spk" "$phase/plda"
      scoring+=(--plda "$phase/plda")
    fi
    if [ -d "$data/dev" ]; then
      run steps/make_calibration_set.py --seed "$seed" --conditions "$(conf_value.py "$conf" augment dev_conditions '')" \
        "$data/dev" "$phase/embeddings" "$phase/embeddings/calibration"
      run steps/score_set.sh --calibrate true "${scoring[@]}" "$phase/embeddings/calibration" "$phase"
    fi
    for each in "$data"/test*; do run steps/score_set.sh "${scoring[@]}" "$each" "$phase"; done
  done
  if [ -n "$phases" ] && [ -f "$data/train/utt2dur" ]; then collecting+=(--train "$data/train"); fi
  # shellcheck disable=SC2086  # back-ends are words
  run steps/collect_results.py "${collecting[@]}" "$exp" --backends $backend
  part_done 6
  stage_done "$exp/results.tsv, $exp/model.pt"
fi

if stage_due 7; then
  need 6 "$exp/results.tsv"
  announce "7: report" \
    "One page: results with intervals, DET curves, training curves, and the worst errors to listen to."
  run steps/make_report.py --conf "$conf" --phases "$phases" --init "$init" "$data" "$exp"
  part_done 7
  stage_done "$exp/report.html"
fi

if [ "$now" -ge 6 ]; then run steps/show_results.py --data "$data" "$exp"; fi
