#!/usr/bin/env bash
# All that this project says about GPUs, proved and measured on one GPU: training, waits, speed. At most 9 minutes on an
# H200. Without a GPU it tries the same with tiny sizes, as far as a CPU can.
#
#     tests/gpu.sh                # or OUT=FOLDER tests/gpu.sh
#
# Leaves OUT/results.json and OUT/parts/ (the log and the figures of each part), and ends with a table: each figure
# beside its aim, where it has one. Each part runs alone, under its own time limit; none stops the rest. Status 1: a part
# failed or an aim is missed.
#
# A machine without network takes packages from .whl/ at the repository's root, if that folder is there. Beside torch,
# numpy, scipy, scikit-learn, tqdm, filelock, matplotlib, jinja2, pytest and hypothesis, these are needed there:
#
#     python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#       --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
#       --platform manylinux2014_x86_64 -d .whl kaldiio==2.18.1 soundfile==0.14.0 soxr==1.1.0 cffi==2.1.1 \
#       pycparser==3.12 av==18.1.0 pydantic pydantic_core annotated-types typing-inspection
#
# with the version of pydantic_core that pydantic asks for.
set -uo pipefail
OUT=${OUT:-$(mktemp -d)}
mkdir -p "$OUT/parts" && OUT=$(cd "$OUT" && pwd) && rm -f "$OUT"/parts/* || exit 1
WORK=$(mktemp -d) || exit 1
trap 'rm -rf "$WORK"' EXIT
cd "$(dirname "$0")/.." || exit 1
export WORK TORCHINDUCTOR_CACHE_DIR=$WORK/inductor TRITON_CACHE_DIR=$WORK/triton

if [ -d .whl ] && ! "${PYTHON:-python3}" utils/check_requirements.py requirements.txt >/dev/null 2>&1; then
  "${PYTHON:-python3}" -m pip install --quiet --no-index --no-deps --no-compile --target "$WORK/site" .whl/*.whl
  export PYTHONPATH=$WORK/site${PYTHONPATH:+:$PYTHONPATH}
fi
. ./path.sh || exit 1
python3 tests/benchmarks/packages.py tests/gpu_parts.py tests/test_gpu.py || exit 1

part() { # part NAME LIMIT COMMAND...; LIMIT in seconds
  local name=$1 limit=$(($2 * slower)) began=$SECONDS status=124
  shift 2
  if [ "$limit" -gt $((deadline - SECONDS)) ]; then limit=$((deadline - SECONDS)); fi
  if [ "$limit" -lt 10 ]; then
    echo "no time was left" >"$OUT/parts/$name.log"
  else
    timeout -k 5 "$limit" "$@" </dev/null >"$OUT/parts/$name.log" 2>&1
    status=$?
  fi
  echo "$status $((SECONDS - began))" >"$OUT/parts/$name.status"
  echo "$SECONDS s: $name ended with status $status"
}

on_gpu() { # as part, where there is a GPU
  if [ $gpus -eq 1 ]; then
    part "$@"
  else
    echo "needs a GPU" >"$OUT/parts/$1.log"
    echo "77 0" >"$OUT/parts/$1.status"
  fi
}

py() { # py NAME LIMIT [ARGUMENT]: a part in Python
  part "$1${3:+-$3}" "$2" python3 tests/gpu_parts.py "$OUT" "$1" ${3:+"$3"}
}

cores=$(nproc)
if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  gpus=1 corpus=() compiled="rescnn small" phases="softmax triplet" trained="rescnn gru resnet34 ecapa"
  OMP_NUM_THREADS=$((cores > 4 ? cores / 4 : 1)) slower=1
else
  echo "tests/gpu.sh: PyTorch finds no GPU here: tiny sizes, on the CPU, show only that the parts run"
  gpus=0 corpus=(--corpus-opts "--speakers 12 --test-speakers 4 --recordings 2 --utterances 2") compiled=small
  phases=triplet trained=gru OMP_NUM_THREADS=1 slower=3
fi
export OMP_NUM_THREADS
recipe=(egs/voxceleb/run.sh --root "$WORK/corpus" --corpus synthetic "${corpus[@]}")

# Side by side: what is not timed.
deadline=$((270 * slower))
{
  py pair 60
  py nccl 60
  py agree 60
  on_gpu tests 120 python3 -m pytest -q -p no:cacheprovider -m gpu tests/test_gpu.py
} &
for network in $compiled; do py compiling 150 "$network" & done
{
  part data 100 "${recipe[@]}" --dir "$WORK/gpu" --gpus $gpus --nj "$cores" --stop-stage 2
  on_gpu sounds 60 "${recipe[@]}" --dir "$WORK/gpu" --gpus 1 --nj "$cores" --stop-stage 2 --name sounds \
    --set 'augment.online=true augment.noise=0.3 augment.babble=0.2 augment.reverb=0.5'
  {
    on_gpu wide 60 "${recipe[@]}" --dir "$WORK/wide" --gpus 1 --nj $((cores / 2)) --stop-stage 2 \
      --conf conf/resnet34.toml --name wide --set 'augment.online=false'
    for network in $trained; do py train 80 "$network"; done
  } &
  for phase in $phases; do py resume 90 "$phase"; done &
  on_gpu recipe-cpu 200 "${recipe[@]}" --dir "$WORK/cpu" --gpus 0 --nj $((cores / 2)) &
  on_gpu recipe-gpu 150 "${recipe[@]}" --dir "$WORK/gpu" --gpus 1 --nj $((cores / 2))
  wait
  on_gpu recipes 20 python3 tests/gpu_parts.py "$OUT" recipes
} &
wait

# Timed, one after another.
deadline=$((540 * slower))
py device 30
py rates 110 &
if [ $gpus -eq 1 ]; then wait; fi
py loop 90
py waits 40
py embeddings 40
py mining 30
py fbank 30
py sound 30
py compiled 100
wait

tests/gpu_table.py "$OUT"
