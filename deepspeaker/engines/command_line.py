"""Kaldi's command line of a program that runs jobs: [options] [JOB=1:4] LOG command args..."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deepspeaker.errors import UserError


class Line(NamedTuple):
    """A command line, parsed."""

    options: list[tuple[str, ...]]  # each with its values: ("--mem", "4G"); all but --max-jobs-run
    limit: int | None  # --max-jobs-run: jobs at once, at most
    name: str | None  # of the job variable
    numbers: range
    log: str
    command: str  # for bash

    def job(self, number: int) -> tuple[str, str]:
        """(command, log) of one job."""
        return numbered(self.command, self.name, number), numbered(self.log, self.name, number)


def numbered(text: str, name: str | None, number: int | str) -> str:
    """The text with the job variable replaced by a job's number, or by * for all jobs."""
    return text.replace(name, str(number)) if name else text


def parse(args: Sequence[str], doc: str) -> Line:
    """Parse a command line; --help prints `doc`. UserError for a line of another form."""
    if list(args) == ["--help"]:
        print(doc.strip())
        sys.exit(0)
    options, limit, name, numbers = [], None, None, range(1, 2)
    left = list(args)
    while left:
        if left[0].startswith("-"):
            option = _option(left)
            if option[0] in ("--max-jobs-run", "-tc"):
                limit = min(_count(option), limit or sys.maxsize)
            else:
                options.append(option)
        elif name is None and (found := re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", left[0])):
            name, first, last = found[1], int(found[2]), int(found[3] or found[2])
            if not 0 < first <= last:
                raise UserError(f"invalid job range {left[0]}: expected {name}=FIRST:LAST with 1 <= FIRST <= LAST")
            numbers = range(first, last + 1)
            left.pop(0)
        else:
            break
    if len(left) < 2:
        raise UserError(f"usage: {Path(sys.argv[0]).name} [options] [JOB=1:n] log-file command-line arguments...")
    log = left[0]
    if name and name not in log and len(numbers) > 1:
        raise UserError(f"{len(numbers)} jobs would write one log file ({log}): put {name} into its name")
    return Line(options, limit, name, numbers, log, " ".join(map(quoted, left[1:])))


def _option(left: list[str]) -> tuple[str, ...]:
    """Remove an option with its values from the words `left`, and return it."""
    option = left.pop(0)
    expected = {"-V": 0, "-pe": 2}.get(option, 1)  # the exceptions are Grid Engine's
    values = [left.pop(0) for _ in range(expected) if left]
    if len(values) < expected:
        raise UserError(f"option {option} needs a value")
    return option, *values


def _count(option: tuple[str, ...]) -> int:
    if not re.fullmatch("0*[1-9][0-9]*", option[1]):
        raise UserError(f"invalid option {' '.join(option)}: expected a number above 0")
    return int(option[1])


def quoted(argument: str) -> str:
    """The argument for bash: in double quotes if it has blanks, in single quotes if it has double quotes, too."""
    if argument and not re.search(r"\s", argument):
        return argument
    if '"' not in argument:
        return f'"{argument}"'
    return "'" + argument.replace("'", "'\"'\"'") + "'"


def report(line: Line, failed: int) -> int:
    """Print how many jobs failed and where their logs are; returns the exit status."""
    if not failed:
        return 0
    program, log = Path(sys.argv[0]).name, line.log
    if len(line.numbers) == 1:
        log = line.job(line.numbers[0])[1]
        print(f"{program}: job failed, log is in {log}", file=sys.stderr)
        if "JOB" in log:
            print(f"{program}: probably you forgot to put JOB=1:$nj in your script.", file=sys.stderr)
    else:
        print(f"{program}: {failed} / {len(line.numbers)} failed, log is in {numbered(log, line.name, '*')}",
              file=sys.stderr)
    return 1
