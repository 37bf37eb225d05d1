# shellcheck shell=bash
# How run.sh and the steps start programs; source it. Commands run in the background and are waited for, so that a
# signal ends them and the script at once, with status 130 (SIGINT) or 143 (SIGTERM).

_stop() {
  trap '' INT TERM
  # shellcheck disable=SC2046  # one word for each process
  kill -TERM $(jobs -p) 2>/dev/null || true
  wait
  exit "$1"
}
trap '_stop 130' INT
trap '_stop 143' TERM

# run COMMAND [ARG...]: run it; returns its exit status
run() {
  "$@" &
  wait $!
}

# run_shown FILE COMMAND [ARG...]: run it and show the lines that are added to FILE meanwhile
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

# check_numbers NAME...: end the script unless the variables of these names, its options, are numbers
check_numbers() {
  local name
  for name; do
    if ! [[ ${!name} =~ ^(0|[1-9][0-9]{0,17})$ ]]; then
      echo "$(basename "$0"): --$name: expected a number without leading zeros, found '${!name}'" >&2
      exit 1
    fi
  done
}

# at_most A B: print the smaller of two numbers
at_most() {
  echo $(($1 < $2 ? $1 : $2))
}

# run_jobs TITLE PROGRESS_DIR NJ CMD LOG COMMAND [ARG...]: run jobs 1..NJ by CMD, which may be several words (queue.pl
# --mem 4G). On a terminal one progress bar is shown for all; each job writes PROGRESS_DIR/progress.JOB.
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
