# shellcheck shell=bash
# The engine that runs parallel jobs: run.pl (this machine), or any program that takes Kaldi's command line.
# shellcheck disable=SC2034  # read by the script that sources this file
export train_cmd="run.pl"
