"""A job and its log, with first and last lines as Kaldi writes them."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple


class Running(NamedTuple):
    """A job that has been started."""

    process: subprocess.Popen[bytes]
    log: str
    started: float  # seconds since the epoch

    def finish(self, status: int, threads: str = "1") -> str:
        """Write the log's last lines; returns how the job failed, empty if it did not. status: as of subprocess."""
        return conclude(self.log, *described(status), self.started, threads)


def empty(log: str) -> None:
    """Make the log's folder, and an empty log."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    Path(log).open("wb").close()


def begin(log: str, command: str) -> None:
    """Append the log's first lines."""
    with Path(log).open("ab") as file:
        file.write(os.fsencode(f"# {command}\n# Started at {date()}\n#\n"))


def start(command: str, log: str) -> Running:
    """Start the command in bash with its log begun."""
    begin(log, command)
    with Path(log).open("ab") as file:  # appending: the last lines and a job's own `>>` to its log mix safely
        words = ["bash", "-c", f"( {command}\n)"]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    return Running(process, log, time.time())


def conclude(log: str, ended: str, why: str, started: float, threads: str = "1") -> str:
    """Append the log's last lines: `ended` is "code 1" or "signal 9", `why` a sentence or empty.

    Returns how the job failed, empty if it did not.
    """
    seconds = round(time.time() - started)
    with Path(log).open("a") as file:
        file.write((f"# {why}\n" if why else "") + f"# Accounting: time={seconds} threads={threads}\n"
                   f"# Ended ({ended}) at {date()}, elapsed time {seconds} seconds\n")
    return "" if ended == "code 0" else why or ended


def described(status: int) -> tuple[str, str]:
    """(how a job ended, a sentence on why or empty) for the last lines of its log."""
    killer = -status if status < 0 else status - 128  # bash says 128 + n for a command ended by signal n
    if name := signal_name(killer):
        cause = ", most likely for lack of memory" if killer == signal.SIGKILL else ""
        return f"signal {killer}", f"The job was ended by signal {killer} ({name}){cause}"
    return f"code {status}", ""


def how_it_ended(log: str) -> str | None:
    """How a finished job failed, empty if it did not, by the last lines of its log; None where these are missing."""
    with Path(log).open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()[-3:]
    if not lines or not (found := re.match(r"# Ended \(([^)]*)\) at ", lines[-1])):
        return None
    why = lines[0].removeprefix("# ") if lines[0].startswith("# The job was ") else found[1]
    return "" if found[1] == "code 0" else why


def signal_name(number: int) -> str | None:
    return next((s.name for s in signal.Signals if s == number), None)


def date() -> str:
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")
