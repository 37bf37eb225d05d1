"""Parallel jobs of stages 2 and 5: each job's share of the utterances, its files, its progress, and one bar for all.

A job's share is contiguous, so the joined tables are sorted when the parts are, whatever the number of jobs. Each job
writes its progress to a small file, which the step that waits for the jobs reads.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from deepspeaker.errors import UserError

T = TypeVar("T")
EVERY = 0.5  # seconds between two writes of a job's progress, and between two looks at it


def job_share(items: Sequence[T], job: int, jobs: int) -> Sequence[T]:
    """The part of `items` for job number `job` of 1..jobs; sizes differ by one at most."""
    if not 1 <= job <= jobs:
        raise UserError(f"job {job} does not lie in 1..{jobs}")
    return items[len(items) * (job - 1) // jobs:len(items) * job // jobs]


def job_file(path: Path, job: int) -> Path:
    """One job's part of a file: `fbank.scp` -> `fbank.3.scp`, `utt2dur_dev` -> `utt2dur_dev.3`."""
    return path.with_suffix(f".{job}{path.suffix}")


def progress_file(folder: Path, job: int) -> Path:
    """Where a job writes its progress."""
    return folder / f"progress.{job}"


class Reporter:
    """A job's side: `advance` after each utterance or several; the file is written at most every half second."""

    def __init__(self, path: Path, total: int):
        self._path, self._total, self._done, self._audio, self._written = path, total, 0, 0.0, 0.0
        self._write()

    def advance(self, audio_seconds: float = 0.0, utterances: int = 1) -> None:
        """Note that more utterances are done, and the seconds of audio in them."""
        self._done += utterances
        self._audio += audio_seconds
        if time.monotonic() - self._written > EVERY or self._done == self._total:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        temporary = self._path.with_name(f".{self._path.name}")
        temporary.write_text(json.dumps([self._done, self._total, self._audio]))
        temporary.replace(self._path)


def watch(paths: Sequence[Path], description: str) -> None:
    """Show one bar for all jobs until all announced utterances are done: utterances, hours of audio, times real time.

    paths: the jobs' progress files. The caller kills the process that shows the bar when the jobs have ended.
    """
    start = time.monotonic()
    with tqdm(desc=description, unit="utt", dynamic_ncols=True) as bar:
        while True:
            reports = [json.loads(path.read_text()) for path in paths if path.exists()]
            done, total, audio = (sum(column) for column in zip(*reports, strict=True)) if reports else (0, 0, 0.0)
            bar.total = total or None
            if audio:
                rate = audio / (time.monotonic() - start)
                bar.set_postfix_str(f"{audio / 3600:.1f} h of audio, {rate:.0f} x real time", refresh=False)
            bar.update(done - bar.n)
            if len(reports) == len(paths) and done >= total:
                return
            time.sleep(EVERY)
