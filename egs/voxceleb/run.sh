#!/usr/bin/env bash
# Deep Speaker from a corpus to an EER, in stages: makes what is missing or stale. Each stage can also be run alone once
# the earlier ones have finished.
# Results with their commands stand in RESULTS.md.
set -euo pipefail

corpus=
corpus_opts=
root=
conf=
set=
stage=
stop_stage=7
strict=false
dry_run=false
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
no_pipes=false
seed=0
init=
backend=

help_message="Usage: $0 [options]
Without options: the whole recipe on synthetic speech that it makes itself.
  --corpus NAME         a file in local/ (voxceleb with --root, else synthetic)
  --corpus-opts OPTS    handed to it, e.g. '--train voxceleb2' (none)
  --root FOLDER         where the corpus lies (for synthetic DIR/corpus)
  --conf FILE           from the caller's folder, else the recipe's
                        (conf/demo.toml for synthetic, else conf/deep_speaker.toml)
  --set CHANGES         values other than the conf's, e.g. 'softmax.margin=0 augment.time_mask=0'; with --name
  --stage N             make stage N and all that follow, whether or not they are up to date
                        (none: what is missing or stale, each with its reason)
  --stop-stage N        last stage ($stop_stage)
                        1 data  2 features  3 softmax  4 triplet  5 embeddings  6 scores  7 report
  --dry-run true|false  say what would be made and why, and make nothing ($dry_run)
  --strict true|false   take for stale what another version of the programs made ($strict)
  --dir FOLDER          where data/, fbank/ and exp/ go (the recipe's folder)
  --name NAME           experiment: exp/NAME (the conf's base name)
  --nj N                parallel jobs of stages 2 and 5 (number of cores, $nj)
  --augment KINDS       copies of the training data: 'speed noise music babble reverb', or some (the conf's)
  --musan FOLDER        MUSAN, for noise, music and babble
  --rirs FOLDER         RIRS_NOISES, for reverb (else rooms are simulated; needs pyroomacoustics)
  --no-pipes true|false run no commands of wav.scp: refuse those that have any ($no_pipes)
  --gpus N              0: CPU; more than 1: torchrun, a process each (all there are)
  --train-cmd CMD       engine of stages 2 and 5, e.g. 'slurm.pl --mem 4G' (cmd.sh's)
  --cuda-cmd CMD        engine of training, e.g. 'slurm.pl --gpu 4'; none: started here, with a bar (cmd.sh's)
  --nnodes N            stages 3 and 4 on so many machines that share DIR: of one job of --cuda-cmd, or run.sh is
                        started on each, with --node-rank and --rdzv-endpoint ($nnodes)
  --node-rank N         this machine's number, from 0 ($node_rank)
  --rdzv-endpoint H:P   where they meet, if run.sh is started on each: machine 0 and a free port
  --seed N              of the dev split, the copies, the initial weights, and all training draws ($seed)
  --init CHECKPOINT     start stage 3 (or 4, with --stage 4) from its network: fine-tuning (none)
  --backend NAMES       of cosine asnorm plda, e.g. 'cosine plda' ([scoring] backends of the conf)"

caller=$PWD
command_line=$(printf '%q ' "$0" "$@")
cd "$(dirname "$0")"
. ./path.sh
# shellcheck source=egs/voxceleb/cmd.sh
. ./cmd.sh
. utils/parse_options.sh
. utils/jobs.sh

log=
replace=
changed=
checked=
fail() {
  trap 'rm -f "$changed"' EXIT
  echo "run.sh: $*" >&2
  exit 1
}
absolute() {
  case $1 in
    /*) echo "$1" ;;
    *) echo "$caller/$1" ;;
  esac
}
need() { # need STAGE FILE...: files that an earlier stage leaves
  local from=$1 file
  shift
  for file; do
    if [ ! -s "$file" ]; then fail "no $file: run stage $from first (--stage $from)"; fi
  done
}
track() { # track ACTION [OPTION...]: the records of what each part of a stage was made from
  steps/track_stages.py "$@" --dir "$dir" --exp "$exp" --conf "$conf" --corpus "$corpus" --corpus-opts "$corpus_opts" \
    --root "$root" --augment "$augment" --musan "$musan" --rirs "$rirs" --seed "$seed" --init "$init" \
    --start "$start" --backends "$backends" --learnt-from "$learnt_from"
}
enter() { # enter STAGE: whether it is asked for and has parts to be made, which are then in todo
  local line said
  if [ "$1" -lt "${stage:-1}" ] || [ "$1" -gt "$stop_stage" ]; then return 1; fi
  if [ "$node_rank" -gt 0 ]; then return 0; fi # machine 0 keeps the records
  said=$(track begin --stage "$1" "${tracking[@]}" $checked) || exit 1
  todo=()
  replace= # by hand, with --stage, it is an error that something else was trained in exp/NAME; else it is set aside
  if [ -z "$stage" ]; then replace=changed; fi
  case $said in *'again: the program changed'*) replace=always ;; esac
  while read -r line; do
    case $line in
      '') ;;
      'stage '*) echo "== $line" ;;
      *) todo+=("$line") ;;
    esac
  done <<<"$said"
  if [ ${#todo[@]} -gt 0 ]; then checked=--checked; fi
  [ -z "$said" ] || [ ${#todo[@]} -gt 0 ] # nothing said: no data directories, which the stage tells
}
begin() { # begin STAGE WHAT...
  now=$1
  started=$SECONDS
  part_started=$SECONDS
  shift
  echo "== stage $now: $*"
}
made() { # made PART: write its record
  if [ "$node_rank" -gt 0 ]; then return; fi
  track end --part "$1" --seconds $((SECONDS - part_started)) --command "$command_line"
  part_started=$SECONDS
}
end() { # end WHAT...
  log=
  echo "== stage $now done in $((SECONDS - started)) s: $*"
}
ended() {
  local status=$?
  if [ $status -eq 130 ] || [ $status -eq 143 ]; then
    echo "run.sh: stopped by a signal in stage $now; start it again to go on" >&2
  elif [ $status -ne 0 ] && [ -n "${now:-}" ]; then
    echo "run.sh: stage $now failed${log:+, log: $log}" >&2
  fi
}

needed() { # needed NAME...: whether a back-end or quality needs one of them
  local each
  for each; do
    case " $needs " in *" $each "*) return 0 ;; esac
  done
  return 1
}

if [ $# -ne 0 ]; then fail "unexpected argument '$1'; options are of the form --name value, see --help"; fi
for number in ${stage:+stage} stop_stage nj nnodes node_rank seed ${gpus:+gpus}; do
  case ${!number} in
    '' | *[!0-9]*) fail "--${number//_/-}: expected a number, found '${!number}'" ;;
  esac
done
for number in ${stage:+"$stage"} "$stop_stage"; do
  if [ "$number" -lt 1 ] || [ "$number" -gt 7 ]; then fail "stage $number: the stages are 1 to 7"; fi
done
if [ "$stop_stage" -lt "${stage:-1}" ]; then fail "--stop-stage $stop_stage lies before --stage $stage"; fi
if [ "$nj" -lt 1 ]; then fail "--nj: expected at least 1 job, found $nj"; fi
if [ -z "$corpus" ]; then corpus=${root:+voxceleb}; fi
corpus=${corpus:-synthetic}
program=$(find -L local -maxdepth 1 -name "$corpus.*" -perm -u+x | sort | head -n 1)
if [ -z "$program" ]; then
  fail "no corpus '$corpus' in $PWD/local; there are: $(find -L local -maxdepth 1 -type f -perm -u+x -printf '%f\n' |
    sed 's/\.[^.]*$//' | sort | paste -sd ' ')"
fi
dir=$(absolute "${dir:-$PWD}")
if [ -z "$root" ]; then
  if [ "$corpus" != synthetic ]; then fail "--corpus $corpus needs --root, the folder where the corpus lies"; fi
  root=$dir/corpus
else
  root=$(absolute "$root")
  if [ ! -d "$root" ] && [ "$corpus" != synthetic ]; then fail "--root $root: no such folder"; fi
fi
if [ -z "$conf" ]; then
  if [ "$corpus" = synthetic ]; then conf=$PWD/conf/demo.toml; else conf=$PWD/conf/deep_speaker.toml; fi
elif [ -f "$(absolute "$conf")" ]; then
  conf=$(absolute "$conf")
elif [ -f "$conf" ]; then
  conf=$PWD/$conf
else
  fail "--conf $conf: no such file in $caller or $PWD"
fi
if [ -n "$set" ]; then
  if [ -z "$name" ]; then fail "--set makes another experiment: it needs --name"; fi
  changed=$(mktemp --suffix .toml)
  trap 'rm -f "$changed"' EXIT
  steps/write_conf.py --set "$set" "$conf" "$changed"
  conf=$changed
fi
backends=${backend:-$(conf_value.py "$conf" scoring backends)}
qualities=$(conf_value.py "$conf" scoring qualities)
needs=$(scoring_needs.py "$backends" "$qualities") # of these: cohort, plda
if [ -n "$init" ]; then
  init=$(absolute "$init")
  if [ ! -f "$init" ]; then fail "--init $init: no such file"; fi
fi
if [ -z "$augment" ]; then augment=$(conf_value.py "$conf" augment copies); fi
if [ -n "$musan" ]; then musan=$(absolute "$musan"); fi
if [ -n "$rirs" ]; then rirs=$(absolute "$rirs"); fi
for kind in $augment; do
  case $kind in
    speed | reverb) ;;
    noise | music | babble)
      if [ -z "$musan" ]; then fail "--augment $kind needs --musan, the folder where MUSAN lies"; fi
      ;;
    *) fail "--augment: no '$kind'; there are: speed noise music babble reverb" ;;
  esac
done
for folder in "$musan" "$rirs"; do
  if [ -n "$folder" ] && [ ! -d "$folder" ]; then fail "$folder: no such folder"; fi
done
if [ -z "$gpus" ] && [ -n "$cuda_cmd" ]; then
  fail "--cuda-cmd '$cuda_cmd' needs --gpus: how many each of its machines has for training (0: CPU)"
fi
if [ -z "$gpus" ]; then gpus=$(nvidia-smi -L 2>/dev/null | wc -l || true); fi
launcher=()
if [ "$nnodes" -gt 1 ] && [ -n "$cuda_cmd" ] && [ -z "$rdzv_endpoint" ]; then # all in one job of $cuda_cmd
  launcher=(srun steps/torchrun.py --nnodes "$nnodes" --nproc-per-node "$((gpus > 0 ? gpus : 1))")
elif [ "$nnodes" -gt 1 ]; then
  if [ -z "$rdzv_endpoint" ]; then fail "--nnodes $nnodes needs --rdzv-endpoint HOST:PORT, the same on all machines"; fi
  if [ "$node_rank" -ge "$nnodes" ]; then fail "--node-rank $node_rank: expected 0 to $((nnodes - 1))"; fi
  if [ "${stage:-1}" -lt 3 ] || [ "$stop_stage" -gt 4 ]; then
    fail "--nnodes $nnodes is for stages 3 and 4: add --stage 3 --stop-stage 4, and run the others on one machine"
  fi
  launcher=(steps/torchrun.py --nnodes "$nnodes" --node-rank "$node_rank" --rdzv-backend static
    --rdzv-endpoint "$rdzv_endpoint" --nproc-per-node "$((gpus > 0 ? gpus : 1))")
elif [ "$gpus" -gt 1 ]; then
  launcher=(steps/torchrun.py --standalone --nproc-per-node "$gpus")
fi
if [ "$gpus" -eq 0 ]; then device=cpu use_gpu=false; else device=cuda use_gpu=true; fi
name=${name:-$(basename "$conf" .toml)}
data=$dir/data
exp=$dir/exp/$name
start=$exp/softmax/final.pt # of stage 4
if [ -n "$init" ] && [ "$stage" = 4 ]; then start=$init init=; fi
tracking=()
if [ -n "$stage" ]; then tracking+=(--force); fi
if $strict; then tracking+=(--strict); fi
learnt_from=
if needed cohort plda; then learnt_from=train; fi
if $dry_run; then
  track plan --stage "${stage:-1}" --last "$stop_stage" "${tracking[@]}"
  exit
fi
if ! mkdir -p "$dir" 2>/dev/null || ! [ -w "$dir" ]; then fail "--dir $dir: it cannot be written to"; fi
if [ "$node_rank" -eq 0 ]; then # the system lets go of the lock when run.sh and all that it started have ended
  exec 9>>"$dir/.lock"
  if ! flock -w 1 9; then
    fail "--dir $dir is in use by $(cat "$dir/.lock"), or by a program that it started: wait for its end, or take another"
  fi
  echo "process $$ on $(hostname), since $(date '+%F %T')" >"$dir/.lock"
fi
trap ended EXIT
if [ -n "$set" ]; then
  mkdir -p "$exp"
  conf=$exp/conf.toml
  mv "$changed" "$conf"
  checked=--checked
fi

# Data directories that are there: of train and dev those that stage 1 made, and every data/test*.
sets() {
  local each
  for each in "$@"; do
    if [ -d "$data/$each" ]; then echo "$each"; fi
  done
  for each in "$data"/test*; do
    if [ -d "$each" ]; then basename "$each"; fi
  done
}

if enter 1; then
  begin 1 "data directories of $corpus ($root)"
  echo "   Who says what where: wav.scp, utt2spk, trials. Expect of VoxCeleb1 1,211 speakers with 148,642 utterances to"
  echo "   train on, of VoxCeleb2 5,994 with 1,092,009; test: 37,611 trials of VoxCeleb1-O. Some speakers then leave"
  echo "   train for dev, which chooses epochs and settings."
  # shellcheck disable=SC2086  # options are words
  run "$program" $corpus_opts "$root" "$data"
  rm -rf "$data"/train_{sp[0-9]*,noise,music,babble,reverb,augmented} # copies of a train that is no more
  if [ -d "$data/train" ]; then run utils/split_dev.py --seed "$seed" "$data"; fi
  directories=()
  if [ -d "$data/train" ]; then directories=(--train "$data/train"); fi
  for set in $(sets train dev); do
    run utils/validate_data_dir.sh --no-feats --no-text "$data/$set"
    directories+=("$data/$set")
  done
  run utils/check_data.py --nj "$nj" "${directories[@]}"
  made 1
  end "$data"
fi

# What the network is trained on: train, or train with its copies.
train=$data/train
if [ -n "$augment" ]; then train=$data/train_augmented; fi

features() { # features SET: of data/SET
  log=$data/$1/log
  run steps/make_fbank.sh --nj "$nj" --cmd "$train_cmd" --conf "$conf" --no-pipes "$no_pipes" \
    "$data/$1" "$log" "$dir/fbank"
}
copy_names() { # of the copies of train
  local kind
  for kind in $augment; do
    case $kind in
      speed) conf_value.py "$conf" augment speeds | tr ' ' '\n' | sed 's/^/train_sp/' ;;
      *) echo "train_$kind" ;;
    esac
  done
}
copies() { # data/train_augmented, of train and its copies
  local all=() name
  for name in $(copy_names); do
    case $name in
      train_sp[0-9]*) copy "$name" --speed "${name#train_sp}" ;;
      train_reverb)
        if [ -z "$rirs" ]; then run steps/simulate_rooms.py --seed "$seed" "$dir/rirs"; fi
        copy "$name" --reverb "${rirs:-$dir/rirs}"
        ;;
      *) copy "$name" "--${name#train_}" "$musan" ;;
    esac
  done
  run utils/combine_data.sh "$data/train_augmented" "$data/train" "${all[@]}"
}
copy() { # copy NAME OPTION VALUE: data/NAME, and its features
  run steps/augment_data_dir.py --seed "$seed" "$2" "$3" "$data/train" "$data/$1"
  features "$1"
  all+=("$data/$1")
}

if enter 2; then
  if [ -z "$(sets train dev)" ]; then fail "no data directories in $data: run stage 1 first (--stage 1)"; fi
  begin 2 "features, $nj jobs"
  echo "   Log mel filterbank energies of every frame, 100 a second, and which frames are voiced, as Kaldi archives."
  echo "   Expect 122 million frames (16 GB) of VoxCeleb1 with 64 bins."
  directories=()
  copied=()
  for part in "${todo[@]}"; do
    if [ "$part" = 2/copies ]; then
      copied=(--copies "$data/train" "$(copy_names)")
    else
      directories+=("$data/${part#2/}")
    fi
  done
  run steps/check_space.py --conf "$conf" "${copied[@]}" "$dir/fbank" "${directories[@]}"
  for part in "${todo[@]}"; do
    case $part in
      2/copies) copies ;;
      *)
        need 1 "$data/${part#2/}/wav.scp"
        features "${part#2/}"
        ;;
    esac
    made "$part"
  done
  end "$dir/fbank, $data/*/feats.scp"
fi

train() { # train PHASE INIT: PHASE in exp/NAME/PHASE, from INIT where it is not empty; by all GPUs and machines
  local command=("${launcher[@]}" steps/train.py --phase "$1" --conf "$conf" ${2:+--init "$2"} --seed "$seed"
    --device "$device" ${replace:+--replace "$replace"} "$train" "$data/dev" "$exp/$1")
  if [ -z "$cuda_cmd" ]; then
    log=$exp/$1/train.log
    run "${command[@]}"
  else
    log=$exp/$1/log/train.log
    # shellcheck disable=SC2086  # the engine's options are words
    run_shown "$exp/$1/train.log" $cuda_cmd "$log" "${command[@]}"
  fi
  made "$now"
  end "$exp/$1/final.pt"
}

if enter 3; then
  need 2 "$train/feats.scp" "$data/dev/feats.scp"
  begin 3 "softmax pre-training"
  echo "   The network learns to name the training speakers: from random weights the triplet loss would collapse."
  echo "   Expect dev EER to fall within a few epochs; the best epoch is kept."
  train softmax "$init"
fi

if enter 4; then
  need 2 "$train/feats.scp" "$data/dev/feats.scp"
  need 3 "$start"
  begin 4 "triplet training"
  echo "   The cosine of two utterances of one speaker shall exceed that of two speakers by the margin."
  echo "   Expect the share of active triplets to fall, and dev EER with it."
  train triplet "$start"
fi

# Phases with a model; untrained is the network before the first step of the softmax phase.
phases() {
  if [ -f "$exp/softmax/initial.pt" ]; then echo untrained; fi
  if [ -f "$exp/softmax/final.pt" ]; then echo softmax; fi
  echo triplet
}
model_of() {
  if [ "$1" = untrained ]; then echo "$exp/softmax/initial.pt"; else echo "$exp/$1/final.pt"; fi
}

if enter 5; then
  need 4 "$exp/triplet/final.pt"
  if [ -z "$(sets)" ]; then fail "no test set $data/test*: run stage 1 first (--stage 1)"; fi
  begin 5 "embeddings, $nj jobs"
  echo "   One vector of length one an utterance of dev and the test sets, from the untrained network and from each"
  echo "   phase's best; of train, too, where a back-end learns from it."
  for part in "${todo[@]}"; do
    IFS=/ read -r _ phase set <<<"$part"
    need 2 "$data/$set/feats.scp"
    need 4 "$(model_of "$phase")"
    log=$exp/$phase/embeddings/$set/log
    run steps/extract_embeddings.sh --nj "$nj" --cmd "$train_cmd" --use-gpu "$use_gpu" --conf "$conf" \
      "$(model_of "$phase")" "$data/$set" "$exp/$phase/embeddings/$set"
    made "$part"
  done
  end "$exp/*/embeddings"
fi

score() { # score PHASE SET TRIALS: with every back-end; dev's calibrate, the others get metrics
  local at=$exp/$1 set=$2 trials=$3 list scores backend
  local embeddings=$at/embeddings/$set/embedding.scp enroll=() given=(--cohort-top "$cohort_top") quality=() llr=() known=()
  list=$set/$(basename "$trials")
  need 5 "$embeddings"
  if [ -f "$data/$set/enroll" ]; then enroll=(--enroll "$data/$set/enroll"); fi
  if needed cohort; then given+=(--cohort "$at/embeddings/train/spk_embedding.scp"); fi
  if [ -n "$qualities" ]; then
    # shellcheck disable=SC2086  # qualities are words
    run steps/measure_quality.py "${given[@]}" "${enroll[@]}" "$trials" "$embeddings" "$at/quality/$list" \
      --quality $qualities
    quality=(--quality "$at/quality/$list".*)
  fi
  if needed plda; then given+=(--plda "$at/plda"); fi
  for backend in $backends; do
    scores=$at/scores/$list.$backend
    run steps/score_trials.py --backend "$backend" "${given[@]}" "${enroll[@]}" "$trials" "$embeddings" "$scores"
    if [ "$set" = dev ]; then
      run steps/train_calibration.py --prior "$calibration_prior" "$trials" "$scores" "$at/calibration/$backend.json" \
        "${quality[@]}"
      continue
    fi
    if [ -f "$at/calibration/$backend.json" ]; then
      llr=(--llr "$at/llr/$list.$backend")
      run steps/calibrate_scores.py "$at/calibration/$backend.json" "$trials" "$scores" "${llr[1]}" "${quality[@]}"
    fi
    known=(--utt2spk "$data/$set/utt2spk" "${enroll[@]}")
    for table in "$data/$set"/{spk2gender,utt2*}; do
      case $(basename "$table") in
        utt2spk | utt2num_frames | utt2uniq) ;;
        *) if [ -f "$table" ]; then known+=(--breakdown "$table"); fi ;;
      esac
    done
    run steps/compute_metrics.py --json "${llr[@]}" "${known[@]}" "$scores" "$trials" >"$scores.json.tmp"
    sync "$scores.json.tmp"
    mv "$scores.json.tmp" "$scores.json"
  done
}

if enter 6; then
  need 4 "$exp/triplet/final.pt"
  if [ -z "$(sets)" ]; then fail "no test set $data/test*: run stage 1 first (--stage 1)"; fi
  begin 6 "scores and error rates, back-ends: $backends"
  echo "   Every trial list of every test set is scored, and scores become likelihood ratios as dev's trials tell."
  echo "   EER where misses and false accepts are equally frequent."
  cohort_top=$(conf_value.py "$conf" scoring cohort_top)
  calibration_prior=$(conf_value.py "$conf" scoring calibration_prior)
  for phase in $(phases); do
    rm -rf "$exp/$phase"/{plda,scores,calibration,quality,llr}
    if [ -n "$learnt_from" ]; then need 5 "$exp/$phase/embeddings/train/embedding.scp"; fi
    if needed plda; then
      run steps/train_plda.py --transform "$(conf_value.py "$conf" scoring plda_transform)" \
        --dim "$(conf_value.py "$conf" scoring plda_dim)" "$exp/$phase/embeddings/train/embedding.scp" \
        "$data/train/utt2spk" "$exp/$phase/plda"
    fi
    if [ -d "$data/dev" ]; then score "$phase" dev "$data/dev/trials"; fi
    for set in $(sets); do
      for trials in "$data/$set"/trials*; do score "$phase" "$set" "$trials"; done
    done
  done
  trained_on=()
  if [ -f "$data/train/utt2dur" ]; then trained_on=(--train "$data/train"); fi
  # shellcheck disable=SC2086  # back-ends are words
  run steps/collect_results.py --conf "$conf" "${trained_on[@]}" "$exp" --backends $backends
  made 6
  end "$exp/results.tsv, $exp/model.pt"
fi

if enter 7; then
  need 6 "$exp/results.tsv"
  begin 7 "report"
  echo "   One page to look at: results with intervals, DET curves, training curves, and the worst errors to listen to."
  run steps/make_report.py --conf "$conf" "$data" "$exp"
  made 7
  end "$exp/report.html"
fi
