#!/usr/bin/env python3
"""Run a command, or numbered copies of it at once, on this machine, each with its log.

    run.pl [--max-jobs-run N] [options] [JOB=1:4] LOG command args...

JOB in LOG and in the command is replaced by each number of the range. Arguments with blanks are quoted, the others
go to bash as they are, so that an escaped | or > works. All jobs run at once, or at most N. Any other leading option
takes one value, which is ignored: the same line can be given to queue.pl or slurm.pl. Writes each job's output to
its LOG. Ends with status 1 if a job failed. On SIGINT or SIGTERM it ends all processes of the jobs, then itself (status
130 or 143).
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.engines.command_line import Line, parse, report
from deepspeaker.engines.logs import Running, empty, signal_name, start
from deepspeaker.engines.processes import Interrupted, adopt_orphans, end_all, handle_signals, interrupt
from deepspeaker.errors import run


def run_jobs(line: Line, running: dict[int, Running]) -> int:
    """Run the jobs, at most line.limit at once: how many failed. `running` holds process id -> job."""
    failed, left = 0, len(line.numbers)
    waiting = iter(line.numbers)
    while left:
        while len(running) < (line.limit or len(line.numbers)) and (number := next(waiting, None)):
            command, log = line.job(number)
            empty(log)
            job = start(command, log)
            running[job.process.pid] = job
        pid, status = os.wait()
        if pid in running:
            job = running.pop(pid)
            job.process.returncode = os.waitstatus_to_exitcode(status)
            how = job.finish(job.process.returncode)
            if how and not how.startswith("code"):
                print(f"run.pl: {job.log}: {how}", file=sys.stderr)
            failed += bool(how)
            left -= 1
    return failed


def main() -> int:
    handle_signals(interrupt)
    adopt_orphans()
    running: dict[int, Running] = {}
    try:
        line = parse(sys.argv[1:], __doc__)
        return report(line, run_jobs(line, running))
    except Interrupted as interrupted:
        handle_signals(lambda *_: None)
        end_all()
        for job in running.values():
            job.finish(job.process.wait())
        print(f"run.pl: ended by {signal_name(interrupted.args[0])}, and its jobs with it", file=sys.stderr)
        return 128 + interrupted.args[0]
    except OSError:
        end_all()
        raise


if __name__ == "__main__":
    run(main)
