"""What utils/run.pl and utils/slurm.pl are made of. Nothing here needs torch, so that they start at once."""
