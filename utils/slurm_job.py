#!/usr/bin/env python3
"""One job of an array of slurm.pl, on the machine that Slurm chose: runs the command with its log.

    slurm_job.py FOLDER THREADS NAME LOG COMMAND

NAME is that of the job variable (empty where there is none), replaced by the job's number in LOG and COMMAND. Leaves
FOLDER/NUMBER if the command ended with status 0. SIGTERM, by which Slurm announces the end to all processes of a job,
does not end this one: it waits for all the others, as training writes a checkpoint.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.engines.command_line import numbered
from deepspeaker.engines.logs import start
from deepspeaker.engines.processes import adopt_orphans, handle_signals
from deepspeaker.errors import UserError, run


def wait_for_orphans() -> None:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def main() -> int:
    told = []
    handle_signals(lambda number, _frame: told.append(number))
    adopt_orphans()
    folder, threads, name, log, command = sys.argv[1:]
    number = int(os.environ.get("SLURM_ARRAY_TASK_ID", 1))
    if not Path(folder).is_dir():  # or the job has ended well, was run again, and nobody waits for it
        raise UserError(f"no {folder} on {os.uname().nodename}: the log must lie where all machines see it")
    if "SLURM_CPUS_PER_TASK" in os.environ:  # which srun no longer heeds
        os.environ.setdefault("SRUN_CPUS_PER_TASK", os.environ["SLURM_CPUS_PER_TASK"])
    job = start(numbered(command, name, number), numbered(log, name, number))
    status = job.process.wait()
    if told or status == -signal.SIGTERM:
        wait_for_orphans()
    job.finish(status, threads)
    if status == 0:
        Path(folder, str(number)).touch()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    run(main)
