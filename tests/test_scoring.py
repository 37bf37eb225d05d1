"""Enrolment and scores: models of several utterances, what is lost, and ids that nobody knows."""

import numpy as np
import pytest

from deepspeaker.archive import append
from deepspeaker.command import UserError
from deepspeaker.scoring import enrolled, score_trials, split_lost
from deepspeaker.trials import Trial

EMBEDDINGS = {"a-1": np.array([1, 0], np.float32), "a-2": np.array([0, 1], np.float32),
              "b-1": np.array([0.6, 0.8], np.float32)}


def test_a_model_is_the_mean_brought_to_length_one():
    models = enrolled({"m": ["a-1", "a-2"], "one": ["b-1", "lost"], "none": ["lost"]}, EMBEDDINGS)
    np.testing.assert_allclose(models["m"], [np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_allclose(models["one"], [0.6, 0.8], rtol=1e-6)
    assert sorted(models) == ["m", "one"]
    scores = score_trials([Trial("m", "b-1", False), Trial("one", "a-1", True)], models, EMBEDDINGS, "cosine")
    np.testing.assert_allclose(scores, [1.4 * np.sqrt(0.5), 0.6], rtol=1e-6)


def test_lost_trials_are_counted_and_unknown_ids_refused():
    trials = [Trial("a-1", "a-2", True), Trial("a-1", "c-1", False), Trial("c-1", "a-1", False)]
    assert split_lost(trials, EMBEDDINGS, EMBEDDINGS, {"c-1"}, {"c-1"}) == (trials[:1], 2)
    with pytest.raises(UserError, match="none of the 2 trials has embeddings of both sides"):
        split_lost(trials[1:], EMBEDDINGS, EMBEDDINGS, {"c-1"}, {"c-1"})
    with pytest.raises(UserError, match="trials name 1 ids that the data directory does not have: c-1"):
        split_lost(trials, EMBEDDINGS, EMBEDDINGS, {"c-1"}, set())


@pytest.fixture
def models(tmp_path):
    """A data directory with trials of models, and the embeddings of its utterances but one."""
    with (tmp_path / "embedding.ark").open("wb") as ark, (tmp_path / "embedding.scp").open("w") as scp:
        for name, vector in EMBEDDINGS.items():
            scp.write(f"{name} {tmp_path}/embedding.ark:{append(ark, name, vector, compress=False)}\n")
    (tmp_path / "utt2spk").write_text("a-1 a\na-2 a\nb-1 b\nlost-1 lost\n")
    (tmp_path / "enroll").write_bytes(b"\xef\xbb\xbfa-1 a-1 a-2\r\nm b-1 lost-1\r\nn lost-1\r\n")
    (tmp_path / "trials").write_text("a-1 b-1 nontarget\nm a-1 nontarget\nn a-1 target\n")
    return tmp_path


def score(call, folder):
    return call("steps/score_trials.py", "--enroll", folder / "enroll", folder / "trials", folder / "embedding.scp",
                folder / "scores")


def test_models_are_scored_by_their_own_names(models, call):
    done = score(call, models)
    assert done.returncode == 0 and "2 trials scored, 1 lost" in done.stdout, done.stderr
    rows = [line.split() for line in (models / "scores").open()]
    assert [row[:2] for row in rows] == [["a-1", "b-1"], ["m", "a-1"]]
    np.testing.assert_allclose([float(row[2]) for row in rows], [1.4 * np.sqrt(0.5), 0.6], atol=2e-6)


@pytest.mark.parametrize(("file", "text", "message"), [
    ("enroll", "m a-1 nobody-1\n", "enroll names 1 ids that the data directory does not have: nobody-1"),
    ("trials", "b-1 a-1 target\n", "trials name 1 ids that the data directory does not have: b-1"),
    ("enroll", "m\n", "enroll:1: expected 'key value'"), ("enroll", "m a-1\nm b-1\n", "enroll:2: m stands here for")])
def test_unknown_models_and_utterances_stop_the_scoring(models, call, file, text, message):
    (models / file).write_text(text)
    done = score(call, models)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (models / "scores").exists()
