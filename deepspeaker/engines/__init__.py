"""The engines utils/run.pl and utils/slurm.pl, which run jobs. Nothing here imports torch, so that they start at once.

command_line.py  Kaldi's command line: options, JOB=1:4, log, command
logs.py          a job and the first and last lines of its log
processes.py     run.pl: ending all processes that a job started
slurm.py         slurm.pl: a job array, sent, watched and cancelled
slurm_conf.py    slurm.pl: conf/slurm.conf, which translates options for sbatch
"""
