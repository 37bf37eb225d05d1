#!/usr/bin/env python3
"""Run a program in several processes by torchrun, and end with the exit status of the program.

Takes torchrun's own options, then a program with its arguments. torchrun itself ends with status 1 whatever ended its
processes; this step ends with the status of the first process that failed, and after a SIGTERM or SIGINT to itself with
143 or 130, once the processes have stopped in order. Where srun starts it on the machines of a Slurm job, it needs no
--rdzv-endpoint: the machines meet where srun runs.

    steps/torchrun.py --standalone --nproc-per-node 2 steps/train.py --phase softmax --device cpu \\
        --conf conf/small.toml data/train data/dev exp/small/softmax
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import UserError, run

PORTS = range(20000, 30000)  # the number of the Slurm job chooses one


def meet_in_slurm(args: argparse.Namespace) -> None:
    """Set in torchrun's options where the machines of a Slurm job meet."""
    job, machines = int(os.environ["SLURM_JOB_ID"]), os.environ.get("SLURM_STEP_NUM_NODES", "1")
    if args.nnodes != machines:
        raise UserError(f"--nnodes {args.nnodes}, but srun started this on {machines}: give $cuda_cmd "
                        f"--nodes {args.nnodes}")
    args.rdzv_backend, args.rdzv_id = "c10d", str(job)
    args.rdzv_endpoint = f"{os.environ['SLURM_LAUNCH_NODE_IPADDR']}:{PORTS[job % len(PORTS)]}"


def main() -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser
    from torch.distributed.run import run as torchrun

    args = get_args_parser().parse_args()
    if "SLURM_JOB_ID" in os.environ and args.nnodes.isdecimal() and int(args.nnodes) > 1 and not args.rdzv_endpoint:
        meet_in_slurm(args)
    try:
        torchrun(args)
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        status = failed.get_first_failure()[1].exitcode
        return status if status > 0 else 128 - status
    return 0


if __name__ == "__main__":
    run(main)
