#!/usr/bin/env python3
"""Run a command, or numbered copies of it as a job array, in Slurm, each with its log.

    slurm.pl [options] [JOB=1:4] LOG command args...

The command line is that of run.pl. Options of two dashes become options of sbatch by --config FILE, else by
conf/slurm.conf of the current folder, else by the recipe's (egs/voxceleb/conf/slurm.conf):

    --mem 4G            memory of each job
    --num-threads N     cores of each job
    --gpu N             GPUs of each job (0)
    --time 4:00:00      time after which Slurm ends a job
    --nodes N           machines of each job, for a command that starts itself on all of them by srun (1)
    --max-jobs-run N    largest number of jobs that run at once (all)
    --config FILE       file to use in place of conf/slurm.conf
    -p gpu              options of one letter go to sbatch as they are, each with a value

Writes each job's output to its LOG, which must lie on a file system that the machines share. Waits for all jobs, also
for those that Slurm puts back into the queue. If a job fails, it is named, the others finish, and the status is 1.
On SIGINT or SIGTERM all jobs are cancelled, then slurm.pl ends (status 130 or 143).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.engines.command_line import parse, report
from deepspeaker.engines.logs import signal_name
from deepspeaker.engines.processes import Interrupted, handle_signals, interrupt
from deepspeaker.engines.slurm import Array
from deepspeaker.engines.slurm_conf import read_conf
from deepspeaker.errors import UserError, run

CONF = Path("conf/slurm.conf")
RECIPE = Path(__file__).resolve().parents[1] / "egs/voxceleb"


def split(options: list[tuple[str, ...]]) -> tuple[dict[str, str], list[str]]:
    """(options for the file to translate, words for sbatch)."""
    named, words = {}, []
    for option, *values in options:
        if option.startswith("--"):
            named[option[2:].replace("-", "_")] = values[0]
        elif len(option) == 2:
            words += [option, *values] if values else []  # -V has none and is Grid Engine's
        else:
            raise UserError(f"unknown option {option}")
    return named, words


def main() -> int:
    handle_signals(interrupt)
    array = None
    try:
        line = parse(sys.argv[1:], __doc__)
        options, words = split(line.options)
        conf = read_conf(Path(options.pop("config", CONF if CONF.exists() else RECIPE / CONF)))
        sbatch = [*conf.sbatch(options), *words]
        array = Array(line, options.get("num_threads", "1"))
        array.submit(sbatch)
        array.wait()
        return report(line, len(array.failed))
    except Interrupted as interrupted:
        handle_signals(lambda *_: None)
        if array:
            array.cancel()
        print(f"slurm.pl: ended by {signal_name(interrupted.args[0])}, and its jobs with it", file=sys.stderr)
        return 128 + interrupted.args[0]
    except OSError:
        if array:
            array.cancel()
        raise
    finally:
        if array:
            array.close()


if __name__ == "__main__":
    run(main)
