#!/usr/bin/env python3
"""Run one job of slurm.pl's job array, on the machine that Slurm chose.

    slurm_job.py FOLDER THREADS NAME LOG COMMAND

NAME is the job variable, replaced by the job's number in LOG and COMMAND ("" if there is none). Writes LOG, and
FOLDER/NUMBER if the command ended with status 0. Before Slurm ends a job it sends SIGTERM to all its processes: this
program then waits for the others, because training still writes a checkpoint.
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
    signals: list[int] = []
    handle_signals(lambda number, _frame: signals.append(number))
    adopt_orphans()
    folder, threads, name, log, command = sys.argv[1:]
    number = int(os.environ.get("SLURM_ARRAY_TASK_ID", 1))
    if not Path(folder).is_dir():  # or the job was run again after it had succeeded
        raise UserError(f"no {folder} on {os.uname().nodename}: the log must lie where all machines see it")
    if "SLURM_CPUS_PER_TASK" in os.environ:  # srun ignores this one
        os.environ.setdefault("SRUN_CPUS_PER_TASK", os.environ["SLURM_CPUS_PER_TASK"])
    job = start(numbered(command, name, number), numbered(log, name, number))
    status = job.process.wait()
    if signals or status == -signal.SIGTERM:
        wait_for_orphans()
    job.finish(status, threads)
    if status == 0:
        Path(folder, str(number)).touch()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    run(main)
