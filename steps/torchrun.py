#!/usr/bin/env python3
"""torchrun with the exit status of what it runs.

Reads torchrun's own options and a program with its arguments; starts the program in so many processes. torchrun ends
with status 1 whatever ended its processes; this ends with the status of the first that failed, and after SIGTERM or
SIGINT to itself, once the processes have stopped in good order, with 143 or 130.

    steps/torchrun.py --standalone --nproc-per-node 2 steps/train.py --phase softmax --device cpu \\
        --conf conf/small.toml data/train data/dev exp/small/softmax
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.command import run


def main():
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser
    from torch.distributed.run import run as torchrun

    args = get_args_parser().parse_args()
    try:
        torchrun(args)
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        status = failed.get_first_failure()[1].exitcode
        return status if status > 0 else 128 - status


if __name__ == "__main__":
    run(main)
