#!/usr/bin/env bash
# Features of one data directory: wav.scp (and segments) -> feats.scp, vad.scp, utt2num_frames, utt2dur,
# utt2quality, frame_shift; or its sound: sound.scp (--make).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

nj=4
cmd=run.pl
conf=$here/../egs/voxceleb/conf/deep_speaker.toml
make="feats vad"
no_pipes=false
pipe_timeout=

help_message="Usage: $0 [options] DATA_DIR [LOG_DIR [ARK_DIR]]
Computes log mel filterbank features and voice activity of DATA_DIR. Archives go into ARK_DIR (DATA_DIR/data), logs into
LOG_DIR (DATA_DIR/log).
An interrupted run resumes where it stopped, if --nj is the same.
  --nj N                  number of parallel jobs ($nj)
  --cmd CMD               engine that runs the jobs: run.pl, slurm.pl ... ($cmd)
  --conf FILE             configuration whose [features] are used ($conf)
  --make KINDS            kinds of archives: feats (features), vad (voice activity), sound (samples: sound.scp) ($make)
  --no-pipes true|false   refuse a wav.scp with commands instead of running them ($no_pipes)
  --pipe-timeout SECONDS  time after which a command is killed and its utterance left out (make_fbank.py's)"
. "$here/../path.sh"
. parse_options.sh
. jobs.sh
if [ $# -lt 1 ] || [ $# -gt 3 ]; then
  echo "$help_message" >&2
  exit 1
fi
data=${1%/} log=${2:-$1/log} ark=${3:-$1/data}
name=$(basename "$data")

if [ ! -s "$data/wav.scp" ]; then
  echo "make_fbank.sh: no $data/wav.scp: prepare the data first (stage 1)" >&2
  exit 1
fi
check_numbers nj
read -ra kinds <<<"$make"
for kind in "${kinds[@]:-}"; do
  if [[ " feats vad sound " != *" $kind "* ]]; then
    echo "make_fbank.sh: --make: expected some of 'feats vad sound', found '$make'" >&2
    exit 1
  fi
done
makes=$(IFS=, && echo "${kinds[*]}") # no blanks: engines may not keep words together
utterances=$data/wav.scp
if [ -f "$data/segments" ]; then utterances=$data/segments; fi
nj=$(at_most "$nj" "$(wc -l <"$utterances")")
mkdir -p "$log" "$ark"
pipes=
if $no_pipes; then pipes=--no-pipes; fi
# shellcheck disable=SC2086  # no word where it is empty
run_jobs "fbank of $name" "$log" "$nj" "$cmd" "$log/make_fbank_$name.JOB.log" \
  "$here/make_fbank.py" --conf "$conf" --make "$makes" $pipes ${pipe_timeout:+--pipe-timeout "$pipe_timeout"} \
  --job JOB --nj "$nj" "$data" "$log" "$ark"
run "$here/make_fbank.py" --conf "$conf" --make "$makes" --join --nj "$nj" "$data" "$log" "$ark"
