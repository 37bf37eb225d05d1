"""Parallel jobs: which share of the utterances each takes, and the files it leaves for the step that joins them.

A job's share is contiguous, so the joined tables are sorted when the parts are, whatever the number of jobs.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from deepspeaker.errors import UserError


def share(items: Sequence[str], job: int, jobs: int) -> Sequence[str]:
    """The part of `items` for job number `job` of 1..jobs: sizes differ by one at most."""
    if not 1 <= job <= jobs:
        raise UserError(f"job {job} does not lie in 1..{jobs}")
    return items[len(items) * (job - 1) // jobs:len(items) * job // jobs]


def part(path: Path, job: int) -> Path:
    """The file of one job: `fbank.scp` -> `fbank.3.scp`, `utt2dur_dev` -> `utt2dur_dev.3`."""
    return path.with_suffix(f".{job}{path.suffix}")


def merge(tables: Iterable[dict[str, str]]) -> dict[str, str]:
    """Tables without common keys as one."""
    return {key: value for table in tables for key, value in table.items()}
