"""Back-ends and enrolment against slow second opinions, the program that scores, and what it refuses."""

import sys

import numpy as np
import pytest

from deepspeaker.datadir.archive import write_vectors
from deepspeaker.errors import UserError
from deepspeaker.extraction.join_embeddings import speaker_means
from deepspeaker.scoring import scorer as scorer_module
from deepspeaker.scoring.asnorm import asnorm, statistics
from deepspeaker.scoring.backends import BACKENDS, make_scorer
from deepspeaker.scoring.cosine import cosine
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.inputs import read_embeddings, read_identification, read_labelled, read_task
from deepspeaker.scoring.needs import needs
from deepspeaker.scoring.scorer import best_models, score_pairs

RNG = np.random.default_rng(0)
EMBEDDINGS = {"a-1": np.array([1, 0], np.float32), "a-2": np.array([0, 1], np.float32),
              "b-1": np.array([0.6, 0.8], np.float32)}


def drawn(n, size=5):
    return RNG.standard_normal((n, size))


def alike(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_speakers_means_are_of_length_one():
    means = speaker_means({"m": ["a-1", "a-2"], "one": ["b-1", "lost"], "none": ["lost"]}, EMBEDDINGS)
    np.testing.assert_allclose(means["m"], [np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_allclose(means["one"], [0.6, 0.8], rtol=1e-6)
    assert sorted(means) == ["m", "one"]


@pytest.mark.parametrize("counts", [[1] * 4, [2, 1, 3, 2]])
@pytest.mark.parametrize("size", [1, 7, 1 << 18])
def test_cosine_in_blocks_of_any_size(counts, size, monkeypatch):
    monkeypatch.setattr(scorer_module, "VALUES_AT_ONCE", size)
    x, models = drawn(9), Models(RNG.integers(0, 9, sum(counts)), np.array(counts))
    i, j = RNG.integers(0, 4, 50), RNG.integers(0, 9, 50)
    of_models = [np.mean([v / np.linalg.norm(v) for v in x[rows]], axis=0)
                 for rows in np.split(models.rows, np.cumsum(counts)[:-1])]
    expected = [alike(of_models[a], x[b]) for a, b in zip(i, j, strict=True)]
    np.testing.assert_allclose(score_pairs(cosine(x, models), i, j), expected)


@pytest.mark.parametrize("counts", [[1] * 4, [2, 1, 3, 2]])
@pytest.mark.parametrize("size", [1, 64, 1 << 22])
def test_asnorm_against_loops(counts, size, monkeypatch):
    monkeypatch.setattr(sys.modules["deepspeaker.scoring.asnorm"], "SCORES_AT_ONCE", size)
    x, cohort, models = drawn(9), drawn(30), Models(RNG.integers(0, 9, sum(counts)), np.array(counts))
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(4), np.arange(9)))

    def normalised(score, side):
        highest = sorted(alike(side, stranger) for stranger in cohort)[-10:]
        return (score - np.mean(highest)) / np.std(highest)

    of_models = [np.mean([v / np.linalg.norm(v) for v in x[rows]], axis=0)
                 for rows in np.split(models.rows, np.cumsum(counts)[:-1])]
    expected = []
    for a, b in zip(i, j, strict=True):
        score = alike(of_models[a], x[b])
        expected.append((normalised(score, of_models[a]) + normalised(score, x[b])) / 2)
    np.testing.assert_allclose(score_pairs(asnorm(x, models, cohort=cohort, cohort_top=10), i, j), expected)


@pytest.mark.parametrize("size", [1, 20, 1 << 22])
def test_the_best_of_all_pairs(size, monkeypatch):
    monkeypatch.setattr(scorer_module, "SCORES_AT_ONCE", size)
    x, cohort = drawn(40), drawn(30)
    scorer = asnorm(x, Models(np.arange(12), np.ones(12, int)), cohort=cohort, cohort_top=10)
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(12), np.arange(12, 40), indexing="ij"))
    every = score_pairs(scorer, i, j).reshape(12, 28).T
    rows, models, scores = map(np.concatenate, zip(*best_models(scorer, np.arange(12, 40), 3), strict=True))
    assert rows.tolist() == [*range(12, 40)]
    np.testing.assert_array_equal(models, np.argsort(-every, axis=1)[:, :3])
    np.testing.assert_allclose(scores, -np.sort(-every, axis=1)[:, :3])
    with pytest.raises(UserError, match="the best 13 of 12 models: there are fewer"):
        next(best_models(scorer, np.arange(12, 40), 13))


@pytest.mark.parametrize("cohort, top, message", [
    (np.ones((0, 5)), 3, "the cohort has 0 embeddings; the 3 most"), (drawn(9), 10, "cohort_top between 2 and 9"),
    (drawn(9), 1, "the 1 most similar are asked for"), (np.ones((9, 5)), 4, "2 embeddings have the same cosine")])
def test_cohorts_that_are_too_small(cohort, top, message):
    with pytest.raises(UserError, match=message):
        statistics(np.eye(5)[:2], cohort, top)


def test_backends_say_what_they_need():
    assert {name: needs(function) for name, function in BACKENDS.items()} == {
        "cosine": [], "asnorm": ["cohort", "cohort_top"], "plda": ["plda"]}
    models = Models(np.arange(2), np.ones(2, int))
    with pytest.raises(UserError, match="asnorm needs --cohort$"):
        make_scorer("asnorm", drawn(2), models, cohort=None, cohort_top=3, plda=None)
    with pytest.raises(UserError, match="no back-end 'nix'; there are: cosine, asnorm, plda"):
        make_scorer("nix", drawn(2), models)


@pytest.fixture
def models(tmp_path):
    """A data directory with trials of models, and the embeddings of its utterances but one."""
    write_vectors(tmp_path / "embedding", EMBEDDINGS)
    (tmp_path / "utt2spk").write_text("a-1 a\na-2 a\nb-1 b\nlost-1 lost\n")
    (tmp_path / "enroll").write_bytes(b"\xef\xbb\xbfa-1 a-1 a-2\r\nm b-1 lost-1\r\nn lost-1\r\n")
    (tmp_path / "trials").write_text("a-1 b-1 nontarget\nm a-1 nontarget\nn a-1 target\n")
    return tmp_path


def score(call, folder, *options):
    return call("steps/score_trials.py", *options, folder / "trials", folder / "embedding.scp", folder / "scores")


def test_models_are_scored_by_their_own_names(models, call):
    done = score(call, models, "--enroll", models / "enroll")
    assert done.returncode == 0 and "2 trials scored, 1 lost" in done.stdout, done.stderr
    rows = [line.split() for line in (models / "scores").open()]
    assert [row[:2] for row in rows] == [["a-1", "b-1"], ["m", "a-1"]]
    np.testing.assert_allclose([float(row[2]) for row in rows], [1.4 * np.sqrt(0.5), 0.6], atol=2e-6)


def test_lost_trials_are_counted(models):
    (models / "trials").write_text("a-1 a-2 target\na-1 lost-1 nontarget\nlost-1 a-1 nontarget\nb-1 a-1 nontarget\n")
    trials, lost, compared = read_task(models / "trials", models / "embedding.scp", None)
    assert lost == 2 and trials.first_ids == ["a-1", "b-1"] and trials.second_ids == ["a-2", "a-1"]
    assert trials.first.tolist() == [0, 1] and trials.second.tolist() == [0, 1] and trials.targets.tolist() == [1, 0]
    np.testing.assert_allclose(score_pairs(cosine(compared.embeddings, compared.models), trials.first, trials.second),
                               [0, 0.6], atol=1e-6)
    (models / "trials").write_text("a-1 lost-1 nontarget\nlost-1 a-1 nontarget\n")
    with pytest.raises(UserError, match="none of the 2 trials has embeddings of both sides"):
        read_task(models / "trials", models / "embedding.scp", None)


@pytest.mark.parametrize(("file", "text", "message"), [
    ("enroll", "m a-1 nobody-1\n", "enroll names 1 ids that the data directory does not have: nobody-1"),
    ("trials", "b-1 a-1 target\n", "trials name 1 ids that the data directory does not have: b-1"),
    ("trials", "".join(f"m x{n} target\n" for n in range(9)),
     r"trials name 9 ids that .* have: x0, x1, x2, x3, x4, \.\.\.$"),
    ("trials", "m a-1 target\nn a-1 target\nm a-1 target\n", "1 trials stand twice: m a-1 .lines 1 and 3."),
    ("trials", "m a-1 target\nm a-1 nontarget\n", "1 trials are both target and nontarget: m a-1 .lines 1 and 2."),
    ("trials", "m a-1 maybe\n", "trials:1: expected 'id1 id2 target|nontarget', found 'm a-1 maybe'"),
    ("enroll", "m\n", "enroll:1: expected 'key value'"), ("enroll", "m a-1\nm b-1\n", "enroll:2: m stands here for")])
def test_lists_that_stop_the_scoring(models, call, file, text, message):
    import re

    (models / file).write_text(text)
    done = score(call, models, "--enroll", models / "enroll")
    assert done.returncode == 1 and re.search(message, done.stderr.strip()) and done.stderr.count("\n") == 1
    assert not (models / "scores").exists()


def test_embeddings_that_are_not_finite_or_of_mixed_dimension(models):
    write_vectors(models / "embedding", EMBEDDINGS | {"a-2": np.array([0, np.nan], np.float32)})
    with pytest.raises(UserError, match="1 embeddings hold values that are not finite: a-2"):
        read_embeddings(models / "embedding.scp")
    write_vectors(models / "mixed", EMBEDDINGS | {"a-2": np.ones(3, np.float32)})
    with pytest.raises(UserError, match=r"vectors of different dimensions: 2 \(.*\), 3 \(a-2\)"):
        read_embeddings(models / "mixed.scp")


def test_embeddings_with_the_numbers_of_their_speakers(models):
    found, speakers = read_labelled(models / "embedding.scp", models / "utt2spk")
    np.testing.assert_array_equal(found, [EMBEDDINGS[name] for name in ("a-1", "a-2", "b-1")])
    assert speakers.tolist() == [0, 0, 1]
    (models / "utt2spk").write_text("b-1 b\n")
    with pytest.raises(UserError, match="2 utterances are not in .*utt2spk: a-1, a-2"):
        read_labelled(models / "embedding.scp", models / "utt2spk")


def test_a_cohort_by_list(models, call):
    write_vectors(models / "cohort", {f"c{n}": vector for n, vector in enumerate(drawn(6, 2).astype(np.float32))})
    (models / "list").write_text("c4\nc0\nc2\n")
    cohort = read_embeddings(models / "cohort.scp", models / "list")
    np.testing.assert_array_equal(cohort, read_embeddings(models / "cohort.scp")[[4, 0, 2]])
    options = ["--enroll", models / "enroll", "--backend", "asnorm", "--cohort", models / "cohort.scp", "--cohort-list",
               models / "list", "--cohort-top", 3]
    assert score(call, models, *options).returncode == 0
    _, _, compared = read_task(models / "trials", models / "embedding.scp", models / "enroll")
    scorer = asnorm(compared.embeddings, compared.models, cohort=cohort, cohort_top=3)
    written = [float(line.split()[2]) for line in (models / "scores").open()]
    np.testing.assert_allclose(written, score_pairs(scorer, np.array([0, 1]), np.array([0, 1])), rtol=1e-4)
    for text, message in (("c9\n", "list: 1 ids are not in .*: c9"), ("", "list is empty: expected at least one")):
        (models / "list").write_text(text)
        with pytest.raises(UserError, match=message):
            read_embeddings(models / "cohort.scp", models / "list")
    assert "the cohort has 6 embeddings; the 7 most" in score(call, models, *options[:6], "--cohort-top", 7).stderr
    with pytest.raises(UserError, match="embeddings have 2 dimensions, the cohort's have 3"):
        statistics(compared.embeddings, drawn(9, 3), 2)


def test_identification(models, call):
    (models / "trials").write_text("x a-1\ny a-2\nnone lost-1\n")  # with --all-pairs: models
    done = score(call, models, "--all-pairs", "--top", 2)
    assert done.returncode == 0 and "the best 2 of 2 models for 1 utterances" in done.stdout, done.stderr
    assert (models / "scores").read_text() == "y b-1 0.800000\nx b-1 0.600000\n"
    assert "there are fewer" in score(call, models, "--all-pairs", "--top", 3).stderr
    assert "goes with --top K" in score(call, models, "--all-pairs").stderr
    (models / "trials").write_text("x a-1 a-2 b-1\n")
    with pytest.raises(UserError, match="1 models of .* and 0 other utterances"):
        read_identification(models / "trials", models / "embedding.scp")
