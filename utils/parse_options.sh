#!/usr/bin/env bash
# Sourced by a script that has set the defaults of its options: every leading `--foo-bar value` sets the variable
# foo_bar, which must exist. The arguments after the options stay in "$@". A variable that is true or false takes only
# true or false. `--config FILE` sources FILE before the other options are read, so that they override it;
# --help prints $help_message. Works under `set -euo pipefail`. Its own variables start with _po_ and are unset
# at the end, so that no option of a script clashes with them.

_po_fail() {
  echo "$0: $*" >&2
  exit 1
}

for ((_po_i = 1; _po_i < $#; _po_i += 2)); do
  [[ ${!_po_i} == --* ]] || break
  if [ "${!_po_i}" = --config ]; then
    _po_next=$((_po_i + 1))
    config=${!_po_next}
    [ -r "$config" ] || _po_fail "missing config '$config'"
    case $config in
      */*) _po_path=$config ;;
      *) _po_path=./$config ;; # without a slash, source would look along PATH
    esac
    # shellcheck source=/dev/null
    . "$_po_path"
  fi
done

while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      printf '%b\n' "${help_message:-No help found.}" >&2
      exit 0
      ;;
    --*=*) _po_fail "options to scripts must be of the form --name value, got '$1'" ;;
    --*) ;;
    *) break ;;
  esac
  _po_name=${1#--}
  _po_name=${_po_name//-/_}
  [[ $_po_name =~ ^[A-Za-z_][A-Za-z0-9_]*$ && -n ${!_po_name+set} ]] || _po_fail "invalid option $1"
  [ $# -ge 2 ] || _po_fail "option $1 needs a value"
  case ${!_po_name} in
    true | false)
      case $2 in
        true | false) ;;
        *) _po_fail "expected \"true\" or \"false\": $1 $2" ;;
      esac
      ;;
  esac
  printf -v "$_po_name" %s "$2"
  shift 2
done

if [ -n "${cmd+set}" ] && [ -z "$cmd" ]; then
  _po_fail "empty argument to --cmd option"
fi
unset _po_i _po_next _po_path _po_name
unset -f _po_fail
true # the status of `. utils/parse_options.sh`
