"""The shares of parallel jobs, and their files."""

from pathlib import Path

import pytest

from deepspeaker.errors import UserError
from deepspeaker.extraction.jobs import merge, part, share


def test_shares():
    items = list("abcdefg")
    assert [share(items, job, 3) for job in (1, 2, 3)] == [["a", "b"], ["c", "d"], ["e", "f", "g"]]
    assert share(items, 1, 1) == items and [len(share(items[:2], job, 3)) for job in (1, 2, 3)] == [0, 1, 1]
    for job in (0, 4):
        with pytest.raises(UserError, match=f"job {job} does not lie in 1..3"):
            share(items, job, 3)


def test_files():
    assert part(Path("x.y/fbank.scp"), 3) == Path("x.y/fbank.3.scp")
    assert part(Path("utt2dur_dev"), 12) == Path("utt2dur_dev.12")
    assert merge([{"a": "1"}, {}, {"b": "2"}]) == {"a": "1", "b": "2"}
