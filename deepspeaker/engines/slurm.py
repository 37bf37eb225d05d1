"""Job arrays in Slurm: sent by sbatch, watched by squeue, ended by scancel. No accounting database is needed.

Slurm is asked whether a job has ended; it also knows this for jobs on dead nodes and for requeued jobs. A job that
succeeds also leaves a file, which is seen sooner, and even if Slurm has forgotten the job or does not answer.
"""

import glob
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deepspeaker.engines.command_line import Line
from deepspeaker.engines.logs import begin, conclude, described, empty, how_it_ended
from deepspeaker.errors import UserError

JOB = Path(__file__).resolve().parents[2] / "utils" / "slurm_job.py"
LOOK = 0.2  # seconds between looks for the files of jobs that succeeded
ASK = (1.0, 15.0)  # seconds between questions to Slurm, at first and at most
PATIENCE = 30.0  # seconds until a file is visible on a shared file system, at most
ENDING = 60.0  # seconds to wait for the jobs of a cancelled array; by default Slurm gives them 30 before SIGKILL
OVER = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
        "REVOKED", "TIMEOUT"}
USUAL = {"None", "Resources", "Priority", "BeginTime", "JobArrayTaskLimit", "Prolog", "Cleaning"}  # reasons to wait


class Array:
    """The jobs of a command line as a job array of Slurm."""

    def __init__(self, line: Line, threads: str):
        self.line, self.threads, self.started = line, threads, time.time()
        self.waiting = set(line.numbers)
        self.failed: dict[int, str] = {}  # number -> how
        self.id = ""  # Slurm's number of the array, once it is sent
        self.folder: Path | None = None
        self._unseen: dict[int, float] = {}  # number -> the time since when Slurm does not know it
        self._said: set[str] = set()

    def submit(self, sbatch: Sequence[str]) -> None:
        """Send the jobs to Slurm with this sbatch command line. UserError if sbatch refuses them."""
        line, words = self.line, [*sbatch, *_array_words(self.line)]
        if not shutil.which(words[0]):
            raise UserError(f"no {words[0]} on this machine: slurm.pl needs Slurm")
        log = Path(line.job(line.numbers[0])[1]).absolute()
        prefix = f".slurm.{log.name}."
        for old in log.parent.glob(glob.escape(prefix) + "*"):
            self._end_those_of(old)
        for number in line.numbers:
            empty(line.job(number)[1])
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=log.parent))
        job = [sys.executable, JOB, self.folder, self.threads, line.name or "", line.log, line.command]
        with _signals_blocked():  # so that the array's number is not lost
            done = subprocess.run(words, input=f"#!/bin/sh\nexec {shlex.join(map(str, job))}\n", stdout=subprocess.PIPE,
                                  text=True, env=_environment())
            if done.returncode:
                raise UserError(f"sbatch refused the jobs (status {done.returncode}): {shlex.join(words)}")
            self.id = done.stdout.strip().partition(";")[0]
            (self.folder / "job").write_text(self.id)

    def wait(self) -> None:
        """Wait until all jobs have ended, also those that Slurm runs again; print each failure when it happens."""
        begun = asked = time.monotonic()
        while self.waiting:
            time.sleep(LOOK)
            self.waiting -= {int(name) for name in os.listdir(self.folder) if name.isdecimal()}
            now = time.monotonic()
            if self.waiting and now - asked > min(max((now - begun) / 10, ASK[0]), ASK[1]):
                self._ask(now)
                asked = time.monotonic()

    def cancel(self) -> None:
        """Cancel all jobs, wait until they have ended, and write the last lines of their logs."""
        if not self.id:
            return
        self._end()
        for number in self.waiting:
            self._how_it_failed(number, "CANCELLED", "None")

    def close(self) -> None:
        """Remove the folder of the files that jobs leave."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end_those_of(self, old: Path) -> None:
        """Cancel the jobs of a killed slurm.pl, found by the folder it left: they would write to the same files."""
        if (old / "job").exists():
            self.id = (old / "job").read_text()
            self._say(f"job {self.id}, whose slurm.pl was killed, is cancelled first")
            self._end()
            self.id = ""
        shutil.rmtree(old)

    def _end(self) -> None:
        words = ["scancel", f"--name={_name(self.line)}", self.id]
        subprocess.run(words, start_new_session=True)  # a second Ctrl-C spares it
        until = time.monotonic() + ENDING
        while (states := self._states()) is None or not all(state in OVER for state, _ in states.values()):
            if time.monotonic() > until:
                print(f"slurm.pl: job {self.id} has not ended yet: see squeue -j {self.id}", file=sys.stderr)
                return
            time.sleep(0.5)

    def _ask(self, now: float) -> None:
        states = self._states()
        if states is None:
            return
        for number in sorted(self.waiting):
            state, reason = states.get(number, ("", ""))
            if not state:
                over = now - self._unseen.setdefault(number, now) > PATIENCE
            else:
                self._unseen.pop(number, None)
                over = state in OVER
            if state == "COMPLETED":
                self.waiting.remove(number)
            elif over:
                self.waiting.remove(number)
                if how := self._how_it_failed(number, state, reason):
                    self._fail(number, how)
            elif state == "PENDING" and reason not in USUAL:
                self._say(f"job {self.id} waits: {reason}")

    def _states(self) -> dict[int, tuple[str, str]] | None:
        """Number -> (state, reason) of the jobs that Slurm knows; None when it does not answer."""
        words = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={self.id}", "--format=%K|%T|%r"]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode and "Invalid job id" not in done.stderr:
            self._say(f"squeue does not answer, still waiting: {done.stderr.strip()}")
            return None
        rows = (line.strip().split("|", 2) for line in done.stdout.splitlines() if line.count("|") >= 2)
        return {int(number) if number.isdecimal() else 1: (state, reason) for number, state, reason in rows}

    def _how_it_failed(self, number: int, state: str, reason: str) -> str:
        """How a job failed, from the last lines of its log; where the job could not write them, this does."""
        command, log = self.line.job(number)
        how = how_it_ended(log)
        if how is not None:
            return how if state in ("FAILED", "") else f"{how or 'code 0'} (Slurm: {state})"
        with Path(log).open("rb") as file:
            begun = file.read(2) == b"# "
        if not begun:
            begin(log, command)
        if state == "OUT_OF_MEMORY" or state == "FAILED" and self._was_killed(number):
            return conclude(log, *described(-signal.SIGKILL), self.started, self.threads)
        why = f"The job was ended by Slurm: {state}{'' if reason in USUAL else f' ({reason})'}"
        if not state:
            why = "The job is no longer known to Slurm, and its log does not say how it ended"
        if state == "FAILED" and not begun:
            why += " before it could begin: do all machines see this folder?"
        return conclude(log, state or "lost", why, self.started, self.threads)

    def _was_killed(self, number: int) -> bool:
        job = f"{self.id}_{number}" if self.line.name else self.id
        shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
        return re.search(rf" ExitCode=\d+:{signal.SIGKILL:d}\b", shown) is not None

    def _fail(self, number: int, how: str) -> None:
        self.failed[number] = how
        if len(self.line.numbers) > 1 or not how.startswith("code"):
            print(f"slurm.pl: job {number} failed, log is in {self.line.job(number)[1]}: {how}", file=sys.stderr)

    def _say(self, text: str) -> None:
        """Print a message, but only once."""
        if text not in self._said:
            self._said.add(text)
            print(f"slurm.pl: {text}", file=sys.stderr)


def _name(line: Line) -> str:
    """The name of the jobs in squeue."""
    return Path(line.log).stem.replace(f".{line.name}", "")


def _array_words(line: Line) -> list[str]:
    """Words for sbatch: the array's numbers, and its logs, to which jobs append."""
    log, array = line.log.replace("%", "%%"), []
    if line.name:
        log = log.replace(line.name, "%a")
        limit = f"%{line.limit}" if line.limit else ""
        array = [f"--array={line.numbers[0]}-{line.numbers[-1]}{limit}"]
    return ["--parsable", f"--job-name={_name(line)}", *array, "--open-mode=append", f"--output={log}"]


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """A context in which SIGINT and SIGTERM are held back until it ends."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _environment() -> dict[str, str]:
    """The environment without the variables of the Slurm job in which this program itself may run."""
    inside = "SLURM_JOB_ID" in os.environ
    return {name: value for name, value in os.environ.items()
            if not (inside and re.match("SLURM_|SLURMD_", name)) or name in ("SLURM_CONF", "SLURM_CLUSTERS")}
