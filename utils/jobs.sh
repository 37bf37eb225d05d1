# shellcheck shell=bash
# What run.sh and the steps share: source it. Commands are run in the background and waited for, so that a signal is
# acted on at once: it ends them and the script, with status 130 (SIGINT) or 143 (SIGTERM).

_stop() {
  trap '' INT TERM
  # shellcheck disable=SC2046  # one word for each process
  kill -TERM $(jobs -p) 2>/dev/null || true
  wait
  exit "$1"
}
trap '_stop 130' INT
trap '_stop 143' TERM

# run COMMAND [ARG...]: its exit status
run() {
  "$@" &
  wait $!
}

# run_shown FILE COMMAND [ARG...]: run, while what is added to FILE is shown
run_shown() {
  local file=$1 size command status=0
  shift
  mkdir -p "$(dirname "$file")"
  touch "$file"
  size=$(wc -c <"$file")
  "$@" &
  command=$!
  tail -c "+$((size + 1))" -s 0.2 -f --pid=$command "$file" &
  wait $command || status=$?
  wait $!
  return $status
}

# at_most A B: the smaller of two numbers
at_most() {
  echo $(($1 < $2 ? $1 : $2))
}

# run_jobs TITLE PROGRESS_DIR NJ CMD LOG COMMAND [ARG...]: jobs 1..NJ through CMD, with one bar for all of them where a
# person is watching; each job writes PROGRESS_DIR/progress.JOB. CMD may be several words (queue.pl --mem 4G).
run_jobs() {
  local title=$1 progress=$2 nj=$3 cmd=$4 bar='' status=0
  shift 4
  rm -f "$progress"/progress.*
  if [ -t 2 ]; then
    watch_jobs.py "$title" "$progress" "$nj" &
    bar=$!
  fi
  # shellcheck disable=SC2086  # CMD is split on purpose
  run $cmd "JOB=1:$nj" "$@" || status=$?
  if [ -n "$bar" ]; then
    kill "$bar" 2>/dev/null || true
    wait "$bar" 2>/dev/null || true
  fi
  rm -f "$progress"/progress.*
  return $status
}
