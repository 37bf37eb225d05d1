"""Parallel jobs: their shares, their files, their progress, and the one bar for all of them."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepspeaker.errors import UserError
from deepspeaker.extraction import parallel_jobs
from deepspeaker.extraction.parallel_jobs import Reporter, job_file, job_share, watch


def test_shares():
    items = list("abcdefg")
    assert [job_share(items, job, 3) for job in (1, 2, 3)] == [["a", "b"], ["c", "d"], ["e", "f", "g"]]
    assert job_share(items, 1, 1) == items and [len(job_share(items[:2], job, 3)) for job in (1, 2, 3)] == [0, 1, 1]
    for job in (0, 4):
        with pytest.raises(UserError, match=f"job {job} does not lie in 1..3"):
            job_share(items, job, 3)


def test_files():
    assert job_file(Path("x.y/fbank.scp"), 3) == Path("x.y/fbank.3.scp")
    assert job_file(Path("utt2dur_dev"), 12) == Path("utt2dur_dev.12")


def test_a_job_writes_now_and_then_and_at_its_end(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(parallel_jobs, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    path, seen = tmp_path / "1", []
    reporter = Reporter(path, 5)
    for seconds, utterances in ((0.2, 1), (0.2, 1), (0.2, 1), (0.2, 2)):
        seen.append(json.loads(path.read_text()))
        clock[0] += seconds
        reporter.advance(3.0, utterances)
    assert [*seen, json.loads(path.read_text())] == [[0, 5, 0], [0, 5, 0], [0, 5, 0], [3, 5, 9], [5, 5, 12]]
    assert [*tmp_path.iterdir()] == [path]


def test_the_bar_ends_when_every_job_has(tmp_path, monkeypatch, capsys):
    paths, clock = [tmp_path / "1", tmp_path / "2"], [0.0]
    states = [{}, {0: [0, 3, 0.0]}, {0: [3, 3, 3600.0]}, {0: [3, 3, 3600.0], 1: [1, 2, 1800.0]},
              {0: [3, 3, 3600.0], 1: [2, 2, 3600.0]}]

    def sleep(_):
        clock[0] += 10.0
        for n, state in states.pop(0).items():
            paths[n].write_text(json.dumps(state))

    monkeypatch.setattr(parallel_jobs, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    watch(paths, "features")
    shown = capsys.readouterr().err
    assert states == [] and "features" in shown and "5/5" in shown and "2.0 h of audio, 144 x real time" in shown
