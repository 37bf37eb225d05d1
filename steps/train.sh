#!/usr/bin/env bash
# Training of one phase by steps/train.py: in this process, by torchrun on several GPUs or machines, or by an engine.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

phase=
conf=
init=
sounds=
seed=0
replace=
gpus=0
nnodes=1
node_rank=0
rdzv_endpoint=
engine=

help_message="Usage: $0 [options] TRAIN_DIR DEV_DIR OUT_DIR
Trains one phase; train.py --help says what is read and written.
  --phase PHASE          training phase, softmax or triplet
  --conf FILE            configuration
  --init CHECKPOINT      checkpoint whose network to start from (none: random weights)
  --sounds FOLDER        sounds that [augment] online adds (make_sounds.py)
  --seed N               seed of all that is random ($seed)
  --replace WHEN         when to move an earlier training from OUT_DIR to old/ beside it: changed (if its data or
                         settings differ) or always (also if it is finished); none: never
  --gpus N               number of GPUs of each machine; 0: CPU ($gpus)
  --nnodes N             number of machines ($nnodes)
  --node-rank N          number of this machine, from 0 ($node_rank)
  --rdzv-endpoint H:P    host and port of machine 0, where all machines meet; none: they are one job of --engine
  --engine CMD           engine that runs the training, e.g. 'slurm.pl --gpu 4'; none: this machine"
. "$here/../path.sh"
. parse_options.sh
. jobs.sh
if [ $# -ne 3 ] || [ -z "$phase" ] || [ -z "$conf" ]; then
  echo "$help_message" >&2
  exit 1
fi
check_numbers gpus nnodes
processes=$((gpus > 0 ? gpus : 1))
launcher=()
if [ "$nnodes" -gt 1 ] && [ -z "$rdzv_endpoint" ]; then
  launcher=(srun "$here/torchrun.py" --nnodes "$nnodes" --nproc-per-node "$processes")
elif [ "$nnodes" -gt 1 ]; then
  launcher=("$here/torchrun.py" --nnodes "$nnodes" --node-rank "$node_rank" --rdzv-backend static
    --rdzv-endpoint "$rdzv_endpoint" --nproc-per-node "$processes")
elif [ "$processes" -gt 1 ]; then
  launcher=("$here/torchrun.py" --standalone --local-addr 127.0.0.1 --nproc-per-node "$processes")
fi
device=cuda
if [ "$gpus" -eq 0 ]; then device=cpu; fi
command=("${launcher[@]}" "$here/train.py" --phase "$phase" --conf "$conf" ${init:+--init "$init"}
  ${sounds:+--sounds "$sounds"} --seed "$seed" --device "$device" ${replace:+--replace "$replace"} "$@")
if [ -z "$engine" ]; then
  run "${command[@]}"
else
  # shellcheck disable=SC2086  # the engine's options are words
  run_shown "$3/train.log" $engine "$3/log/train.log" "${command[@]}"
fi
