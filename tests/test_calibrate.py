"""deepspeaker calibrate: a model calibrated anew on recordings of a user's own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RATE, write_wav
from tools import model_file, voice

import deepspeaker
from deepspeaker.errors import UserError
from deepspeaker.inference.cli import main

SPEAKERS = 7


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Three recordings of each of several synthetic speakers, as a data directory: parts of one, which overlap, so that
    even a network of random weights tells who speaks."""
    folder = tmp_path_factory.mktemp("mine")
    names = [f"s{speaker}-{n}" for speaker in range(SPEAKERS) for n in range(3)]
    for name in names:
        start = int(name[3]) * RATE // 10
        write_wav(folder / f"wav/{name}.wav", voice(int(name[1]), 0, 2.8)[start:start + 5 * RATE // 2])
    (folder / "wav.scp").write_text("".join(f"{name} {folder}/wav/{name}.wav\n" for name in names))
    (folder / "utt2spk").write_text("".join(f"{name} {name[:2]}\n" for name in names))
    return folder


@pytest.fixture
def run(capsys):
    """Run the command; returns its exit status and its JSON."""

    def run(*words: object) -> tuple[int, dict]:
        capsys.readouterr()
        status = main(["calibrate", *map(str, words), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def mine(recordings, tmp_path):
    """A copy that a test may change."""
    for name in ("wav.scp", "utt2spk"):
        shutil.copy(recordings / name, tmp_path)
    model_file(tmp_path / "model.pt")
    return tmp_path


def keep(folder: Path, number: int) -> None:
    """Only the first speakers' recordings."""
    for name in ("wav.scp", "utt2spk"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if int(line[1]) < number))


def test_calibrate(mine, run):
    status, found = run(mine / "model.pt", mine, "-o", mine / "mine.pt", "--prior", 0.2)
    assert status == 0 and found["output"] == str(mine / "mine.pt") and found["prior"] == 0.2
    before, after = found["before"], found["after"]
    assert before["n_target"] == after["n_target"] == 3 * SPEAKERS
    assert before["cllr"] > 10 > 1.2 > after["cllr"]  # the model accepted nothing that is not identical
    assert before["miss_at_prior_0.2"] == 100 and after["cllr_low"] < after["cllr"] < after["cllr_high"]
    assert found["warning"].startswith("only 7 speakers, 20 or more would be better: on other speakers of the kind")
    low, high = found["calibration"]["bounds"]
    assert -np.log(12) < low <= 0 <= high < np.log(22)  # 21 recordings, 21 pairs of speakers
    old, new = deepspeaker.load(mine / "model.pt"), deepspeaker.load(mine / "mine.pt")
    assert new.fingerprint == old.fingerprint and (old.prior, new.prior) == (0.01, 0.2)
    assert new.summary["calibration"]["speakers"] == SPEAKERS and new.bounds == (low, high)
    one, two = (mine / "wav.scp").read_text().split()[1:4:2]
    assert new.verify(one, two).llr <= high


def test_the_same_in_python_and_as_text(mine, run, capsys):
    done = deepspeaker.calibrate(deepspeaker.load(mine / "model.pt"), mine, mine / "mine.pt")
    again = run(mine / "model.pt", mine, "-o", mine / "again.pt")[1]
    assert done.calibration._asdict() == {**again["calibration"], "bounds": tuple(again["calibration"]["bounds"])}
    status = main(["calibrate", str(mine / "model.pt"), str(mine), "-o", str(mine / "again.pt")])
    shown = capsys.readouterr().out
    assert status == 0 and "misses, %" in shown and "warning: only 7 speakers" in shown
    assert "the development set cannot support a decision at prior 0.01: nothing is accepted" in shown


def test_trials_of_ones_own(mine, run):
    names = [line.split()[0] for line in (mine / "utt2spk").open()]
    pairs = [(a, b) for n, a in enumerate(names) for b in names[n + 1:] if a[-1] == "0"]
    (mine / "trials").write_text("".join(
        f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n" for a, b in pairs))
    found = run(mine / "model.pt", mine, "-o", mine / "mine.pt")[1]
    assert found["trials"] == len(pairs) and found["after"]["n_target"] == 2 * SPEAKERS
    with (mine / "trials").open("a") as file:
        file.write(f"nobody {names[0]} target\n")
    status, found = run(mine / "model.pt", mine, "-o", mine / "mine.pt")
    assert status == 2 and f"{mine}/trials names 1 utterances that {mine}/utt2spk lacks: nobody" in found["error"]


def test_genders_are_kept_apart(mine, run):
    (mine / "spk2gender").write_text("".join(f"s{n} {'fm'[n % 2]}\n" for n in range(SPEAKERS)))
    with_genders = run(mine / "model.pt", mine, "-o", mine / "mine.pt")[1]
    (mine / "spk2gender").unlink()
    without = run(mine / "model.pt", mine, "-o", mine / "mine.pt")[1]
    assert with_genders["after"]["n_nontarget"] < without["after"]["n_nontarget"]


def test_what_cannot_be_heard_is_left_out(mine, run):
    lines = (mine / "wav.scp").read_text().splitlines(keepends=True)
    (mine / "wav.scp").write_text("".join(["s0-0 /none.wav\n", *lines[1:]]))
    status, found = run(mine / "model.pt", mine, "-o", mine / "mine.pt")
    assert status == 0 and [*found["failed"]] == ["s0-0"] and "/none.wav" in found["failed"]["s0-0"]
    assert found["after"]["n_target"] == 3 * SPEAKERS - 2


@pytest.mark.parametrize("change, message", [
    (lambda folder: keep(folder, 4), "4 speakers with two recordings or more; calibration needs 5, better 20"),
    (lambda folder: (folder / "utt2spk").write_text("s0-0 s0\n"), "utt2spk lacks s0-1, which"),
    (lambda folder: (folder / "utt2spk").unlink(), "no such file"),
    (lambda folder: (folder / "wav.scp").write_text("".join(f"s{n}-{k} /none.wav\n" for n in range(7)
                                                            for k in range(3))), "21 of 21 utterances cannot be used"),
    (lambda folder: (folder / "trials").write_text("s0-0 s0-1 nontarget\n"), "1 trials contradict"),
    (lambda folder: (folder / "trials").write_text("s0-0 s0-1 target\n"), "needs target and nontarget trials")])
def test_what_no_model_can_be_calibrated_on(mine, run, change, message):
    change(mine)
    status, found = run(mine / "model.pt", mine, "-o", mine / "mine.pt")
    assert status == 2 and message in found["error"] and not (mine / "mine.pt").exists()


def test_commands_are_run_unless_refused(mine, run):
    lines = (mine / "wav.scp").read_text().splitlines()
    (mine / "wav.scp").write_text("".join(f"{line.split()[0]} cat {line.split()[1]} |\n" for line in lines))
    words = mine / "model.pt", mine, "-o", mine / "mine.pt"
    status, found = run(*words, "--no-pipes")
    assert status == 2 and "21 entries are commands" in found["error"]
    assert run(*words)[0] == 0


def test_speakers_of_the_cohort_and_a_back_end_without_it(mine, run):
    cohort = torch.randn(5, 8)
    calibration = {"asnorm": {"prior": 0.01, "offset": 0.0, "weights": {"score": 1.0}}}
    model = model_file(mine / "asnorm.pt", {"scoring.backends": ["asnorm"]}, cohort=cohort, calibration=calibration,
                       cohort_speakers=["s1", "s2", "x", "y", "z"])
    status, found = run(model, mine, "-o", mine / "mine.pt")
    assert status == 2 and "2 speakers are in the model's cohort, which it was trained on: s1, s2" in found["error"]
    model = model_file(mine / "bare.pt", {"scoring.backends": ["asnorm"]}, calibration=calibration)
    status, found = run(model, mine, "-o", mine / "mine.pt")
    assert status == 2 and "its back-end asnorm needs cohort, which the file lacks" in found["error"]


def test_a_model_that_was_not_calibrated(mine):
    """Any checkpoint scores by cosine and can be calibrated; there is no before."""
    done = deepspeaker.calibrate(deepspeaker.load(mine / "model.final"), mine, mine / "mine.pt")
    assert done.before == {} and done.after["cllr"] < 1.2
    assert deepspeaker.load(mine / "mine.pt").calibration == done.calibration


def test_a_prior_that_is_none(mine):
    with pytest.raises(UserError, match="expected a prior between 0 and 1"):
        deepspeaker.calibrate(deepspeaker.load(mine / "model.pt"), mine, mine / "mine.pt", prior=1.0)
    for output, message in (("none/mine.pt", "none/mine.pt: there is no folder .*/none"),
                            (".", "expected the name of a file to write, found a folder")):
        with pytest.raises(UserError, match=message):
            deepspeaker.calibrate(deepspeaker.load(mine / "model.pt"), mine, mine / output)
    assert not (mine / "mine.pt").exists()
