# shellcheck shell=bash
# The engines that run jobs: run.pl on this machine, slurm.pl in a Slurm cluster, configured by conf/slurm.conf, or your
# own queue.pl: any program that takes Kaldi's command line. run.sh --train-cmd and --cuda-cmd override them for a run.
# shellcheck disable=SC2034  # read by the script that sources this file

# Features and embeddings, in --nj jobs. The second line is an example for Slurm.
export train_cmd="run.pl"
# export train_cmd="slurm.pl --mem 4G"

# Training. Without an engine run.sh starts it on this machine, with a progress bar. The number of GPUs is given twice,
# to the engine and to run.sh: the first example goes with run.sh --gpus 1, the second with --gpus 4 --nnodes 2.
export cuda_cmd=
# export cuda_cmd="slurm.pl --gpu 1 --num-threads 4 --mem 16G"
# export cuda_cmd="slurm.pl --gpu 4 --nodes 2 --num-threads 16 --mem 64G"
