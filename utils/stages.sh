# shellcheck shell=bash disable=SC2034,SC2154  # run.sh has the options, and reads what is set here
# The bookkeeping of run.sh; source it after utils/jobs.sh. A stage of run.sh calls:
#   if stage_due N; then    true if stage N was asked for and some part of it is missing or stale: `parts` then has a
#                           string for each such part, its name and its paths separated by tabs (see
#                           deepspeaker/recipe/stages.py)
#   is_copy DATA_DIR        true for a copy of dev or of a test set that stage 2 has made
#   announce LINE...        print what the stage does, and start its clock
#   check_sizes N           fail if one of the stages from N on would refuse the training set's size
#   need N FILE...          fail unless these files, which stage N writes, are there
#   need_network            fail unless the network of the last of --phases is there
#   part_done PART          write the record by which the next run knows that the part is up to date
#   stage_done WHERE        print how long the stage took, and where its results lie
# Before the first stage: resolve_options checks all options and fills in those that were not given, claim_dir locks
# --dir against a second run.sh. fail MESSAGE ends run.sh. A step that fails says why, an engine also names the job's log.

now=0     # the stage that was announced last
parts=()  # parts of the stage that is due
replace=  # train.py --replace: empty, "changed" or "always"
checked=  # "true" once the configuration is known to be good
temporary= # configuration made by --set or --init, before --dir is claimed

fail() {
  echo "run.sh: $*" >&2
  leave
}

leave() { # why has been said
  trap - EXIT
  rm -f "$temporary"
  exit 1
}

resolve_options() {
  local option words=() assignments
  for option in corpus corpus_opts root conf set stage stop_stage strict dry_run dir name nj gpus nnodes node_rank \
    rdzv_endpoint augment musan rirs conditions seed phases init backend cuda_cmd; do
    words+=("--${option//_/-}=${!option}")
  done
  assignments=$(steps/resolve_options.py --caller "$caller" "${words[@]}") || exit 1
  eval "$assignments"
  if [ -n "$temporary" ]; then checked=true; fi # by resolve_options.py
  if $taken; then echo "== [features] and [model] are those of $init"; fi
  trap _on_exit EXIT
}

claim_dir() {
  if ! mkdir -p "$dir" 2>/dev/null || ! [ -w "$dir" ]; then fail "--dir $dir: it cannot be written to"; fi
  if [ "$node_rank" -eq 0 ]; then # the system lets go of the lock when run.sh and all that it started have ended
    exec 9>>"$dir/.lock"
    if ! flock -w 1 9; then
      fail "--dir $dir is in use by $(cat "$dir/.lock"), or by a program that it started: wait for its end, or take" \
        "another"
    fi
    echo "process $$ on $(hostname), since $(date '+%F %T')" >"$dir/.lock"
  fi
  if [ -n "$temporary" ]; then
    mkdir -p "$exp"
    conf=$exp/conf.toml
    mv "$temporary" "$conf"
  fi
}

_track() {
  steps/track_stages.py "$@" "${tracked[@]}" --conf "$conf"
}

show_plan() {
  _track plan --stage "${stage:-1}" --last "$stop_stage"
}

stage_due() {
  local commands lacks_inputs=false
  if [ "$1" -lt "${stage:-1}" ] || [ "$1" -gt "$stop_stage" ]; then return 1; fi
  if [[ $skipped == *$1* ]]; then
    echo "== stage $1: not in --phases"
    return 1
  fi
  parts=("$1")
  if [ "$node_rank" -gt 0 ]; then return 0; fi # machine 0 keeps the records
  commands=$(_track begin --stage "$1" --last "$stop_stage" ${checked:+--checked}) || leave
  eval "$commands"
  if [ ${#parts[@]} -gt 0 ]; then checked=true; fi
  [ ${#parts[@]} -gt 0 ] || $lacks_inputs # the stage then fails and says which file it needs
}

# check_sizes N: fail if a stage from N on would refuse the training set's size
check_sizes() {
  if [ "$stop_stage" -ge "$1" ]; then _track sizes --stage "$1" --last "$stop_stage"; fi
}

is_copy() {
  local first
  [ -s "$1/augment" ] && read -r first <"$1/augment" && [[ $first == */sounds/"${1##*/}"/* ]]
}

announce() {
  now=${1%%:*}
  _started=$SECONDS
  _part_started=$SECONDS
  echo "== stage $1"
  shift
  printf '   %s\n' "$@"
}

need() {
  local from=$1 file
  shift
  for file; do
    if [ ! -s "$file" ]; then fail "no $file: run stage $from first (--stage $from)"; fi
  done
}

need_network() {
  case $phases in
    *triplet) need 4 "$exp/triplet/final.pt" ;;
    softmax) need 3 "$exp/softmax/final.pt" ;;
  esac
}

part_done() {
  if [ "$node_rank" -gt 0 ]; then return; fi
  _track end --part "$1" --seconds $((SECONDS - _part_started)) --command "$command_line"
  _part_started=$SECONDS
}

stage_done() {
  echo "== stage $now done in $((SECONDS - _started)) s: $*"
}

_on_exit() {
  local status=$?
  rm -f "$temporary"
  if [ $status -eq 130 ] || [ $status -eq 143 ]; then
    echo "run.sh: stopped by a signal in stage $now; start it again to resume" >&2
  elif [ $status -ne 0 ] && [ "$now" -gt 0 ]; then
    echo "run.sh: stage $now failed" >&2
  fi
}
