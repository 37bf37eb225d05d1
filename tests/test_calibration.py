"""Calibration: log-likelihood ratios of Gaussian scores are known; thresholds; qualities; the two programs."""

import json
import math

import numpy as np
import pytest

from deepspeaker.datadir.archive import write_vectors
from deepspeaker.errors import UserError
from deepspeaker.scoring.calibration import (
    Calibration,
    apply,
    fit,
    read_calibration,
    write_calibration,
)
from deepspeaker.scoring.decisions import score_threshold, threshold
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.inputs import Compared
from deepspeaker.scoring.quality import measure


def gaussian(n=200_000, seed=0):
    """Scores N(2, 1) of targets and N(0, 1) of three times as many nontargets: the log-likelihood ratio is 2 s - 2."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4 == 0
    return rng.standard_normal(n) + 2 * labels, labels


@pytest.mark.parametrize("prior", [0.5, 0.05])
def test_finds_the_log_likelihood_ratio(prior):
    scores, labels = gaussian()
    found = fit({"score": scores}, labels, prior)
    assert found.weights["score"] == pytest.approx(2, rel=0.05) and found.offset == pytest.approx(-2, abs=0.1)
    np.testing.assert_allclose(apply(found, {"score": np.array([0, 1.0])}), [-2, 0], atol=0.1)


def test_minimises_the_prior_weighted_cross_entropy():
    scores, labels = gaussian(2000)
    found = fit({"score": scores}, labels, 0.1)

    def cost(offset, slope):
        odds = offset + slope * scores + math.log(0.1 / 0.9)
        return 0.1 * np.logaddexp(0, -odds[labels]).mean() + 0.9 * np.logaddexp(0, odds[~labels]).mean()

    best = cost(found.offset, found.weights["score"])
    for step in (0.02, -0.02):
        assert cost(found.offset + step, found.weights["score"]) > best
        assert cost(found.offset, found.weights["score"] + step) > best


def test_a_quality_that_shifts_scores():
    """Scores are shifted by 3 q, which only the quality tells."""
    scores, labels = gaussian()
    quality = np.random.default_rng(1).uniform(-1, 1, len(scores))
    columns = {"score": scores + 3 * quality, "q": quality, "constant": np.ones(len(scores))}
    found = fit(columns, labels, 0.5)
    assert found.columns == ["score", "q", "constant"] == [*columns] and found.qualities == ["q", "constant"]
    assert found.weights["score"] + found.weights["score*constant"] == pytest.approx(2, rel=0.05)
    assert found.weights["q"] == pytest.approx(-6, rel=0.05) and abs(found.weights["score*q"]) < 0.1
    with pytest.raises(UserError, match="was fitted to score, q, constant; found score, without q"):
        apply(found, {"score": scores})


def test_a_quality_that_scales_what_scores_mean():
    """Where q is 0 scores say nothing, where it is 1 the ratio is 2 s - 2; outside of what was seen q counts as the
    nearest end."""
    scores, labels = gaussian()
    noise = np.random.default_rng(1)
    quality = noise.integers(0, 2, len(scores)).astype(float)
    columns = {"score": np.where(quality, scores, noise.standard_normal(len(scores))), "q": quality}
    found = fit(columns, labels, 0.5)
    assert found.ranges == {"q": (0, 1)}
    llr = apply(found, {"score": np.array([-1.0, 3, -1, 3, 3, 3]), "q": np.array([0.0, 0, 1, 1, 7, -5])})
    np.testing.assert_allclose(llr, [0, 0, -4, 4, 4, 0], atol=0.25)


def test_bounds_and_weights_of_trials():
    scores, labels = gaussian(2000)
    found = fit({"score": scores}, labels, 0.3)
    twice = np.random.default_rng(0).integers(1, 3, len(scores))
    again = fit({"score": np.repeat(scores, twice)}, np.repeat(labels, twice), 0.3)
    weighted = fit({"score": scores}, labels, 0.3, twice.astype(float))
    assert weighted.weights == pytest.approx(again.weights, rel=1e-4) and weighted.weights != found.weights
    bounded = found._replace(bounds=(-1.5, 2.0))
    llr = apply(bounded, {"score": scores})
    assert (llr.min(), llr.max()) == (-1.5, 2.0)
    np.testing.assert_array_equal(llr, np.clip(apply(found, {"score": scores}), -1.5, 2.0))


def test_thresholds():
    assert threshold(0.5) == 0 and threshold(0.01) == pytest.approx(math.log(99))
    assert threshold(0.01, cost_miss=10, cost_false_accept=1) == pytest.approx(math.log(9.9))
    assert threshold(1e-320, cost_miss=1e-300) == pytest.approx(320 * math.log(10) + 300 * math.log(10), rel=1e-4)
    calibration = Calibration(0.5, -2, {"score": 2})
    assert score_threshold(calibration, 0.5) == 1 and score_threshold(Calibration(0.5, -2, {"score": 0.5}), 0.5) == 4
    assert apply(calibration, {"score": np.array([score_threshold(calibration, 0.01, 10)])}) == pytest.approx(
        threshold(0.01, 10))
    bounded = calibration._replace(bounds=(-3.0, 4.0))
    assert score_threshold(bounded, 0.5) == 1
    for prior in (0.01, 0.99):
        with pytest.raises(UserError, match=f"cannot support a decision at prior {prior}: .* between -3.00 and 4.00"):
            score_threshold(bounded, prior)
    for weights in ({"score": -1}, {"score": 0}, {"score": 1, "q": 1}):
        with pytest.raises(UserError, match="no threshold on scores"):
            score_threshold(Calibration(0.5, -2, weights), 0.5)


def test_decisions_at_the_threshold_cost_least():
    scores, labels = gaussian(100_000, seed=1)
    calibration = fit({"score": gaussian()[0]}, gaussian()[1], 0.5)
    llr = apply(calibration, {"score": scores})

    def cost(at):
        return 0.2 * 5 * (llr[labels] < at).mean() + 0.8 * (llr[~labels] >= at).mean()

    at = threshold(0.2, cost_miss=5)
    assert cost(at) <= min(cost(at + shift) for shift in (-1, -0.5, 0.5, 1))


def test_scores_that_separate_the_labels_stay_finite():
    labels = np.arange(40) < 20
    found = fit({"score": np.where(labels, 0.9, 0.1)}, labels, 0.01)
    llr = apply(found, {"score": np.array([0.1, 0.9])})
    assert np.isfinite(llr).all() and llr[0] < -3 and llr[1] > 3


@pytest.mark.parametrize("scores, labels, prior, message", [
    ([1, 2.0], [1, 1], 0.5, "needs target and nontarget trials; found 2 and 0"),
    ([1, np.inf], [1, 0], 0.5, "1 trials have scores or qualities that are not finite"),
    ([0.5, 0.5], [1, 0], 0.5, "all 2 trials have the score 0.5: nothing can be learnt"),
    ([1, 2.0], [1, 0], 1.0, "prior must lie between 0 and 1, found 1.0")])
def test_what_cannot_be_calibrated(scores, labels, prior, message):
    with pytest.raises(UserError, match=message):
        fit({"score": np.array(scores)}, np.array(labels, bool), prior)


def test_files(tmp_path):
    calibration = Calibration(0.01, -3.5, {"score": 7.25, "q": 1.0, "score*q": 0.5}, {"q": (0.0, 2.0)}, (-3.0, 4.0),
                              35, 0.25)
    write_calibration(tmp_path / "c.json", calibration)
    assert read_calibration(tmp_path / "c.json") == calibration
    old = {"prior": 0.01, "offset": -3.5, "weights": {"score": 7.25, "q": 1.0}}  # of an earlier version
    (tmp_path / "old.json").write_text(json.dumps(old))
    found = read_calibration(tmp_path / "old.json")
    assert (found.ranges, found.bounds, found.cllr) == ({}, (-math.inf, math.inf), None)
    assert apply(found, {"score": np.array([1.0]), "q": np.array([99.0])}) == pytest.approx(-3.5 + 7.25 + 99)
    for name, content in (("c.json", {}), ("nan.json", old | {"offset": math.nan}), ("text.json", old | {"weights": 3}),
                          ("bounds.json", old | {"bounds": [2, 1]}), ("more.json", old | {"x": 1})):
        (tmp_path / name).write_text(json.dumps(content))
    for name, message in (*((f"{name}.json", f"{name}.json: not a calibration") for name in (
            "c", "nan", "text", "bounds", "more")), ("none.json", "no such file .*none.json: fit it")):
        with pytest.raises(UserError, match=message):
            read_calibration(tmp_path / name)


def test_qualities_of_models_and_utterances():
    """Model 0 is u and v, 5 s together, model 1 is w of 8 s; cosines with the cohort are 0.6 and 0.8, or 0 and 1."""
    embeddings = np.array([[1, 0], [1, 0], [0.6, 0.8]], np.float32)
    compared = Compared(["m", "n"], Models(np.array([0, 1, 2]), np.array([2, 1])), ["u", "v", "w"], embeddings, 3)
    i, j = np.array([0, 0, 1]), np.array([0, 2, 1])
    found = measure("log_duration", compared, i, j, utt2dur={"u": "2", "v": "3", "w": "8"}, cohort=None)
    np.testing.assert_allclose(np.exp(found["log_duration_smaller"]), [2, 5, 3])
    np.testing.assert_allclose(np.exp(found["log_duration_larger"]), [5, 8, 8])
    cohort = np.array([[3, 0], [0, 2], [-1, 0]], np.float32)
    found = measure("cohort_mean", compared, i, j, utt2dur=None, cohort=cohort, cohort_top=2)
    np.testing.assert_allclose(found["cohort_mean_smaller"], [0.5, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(found["cohort_mean_larger"], [0.5, 0.7, 0.7], rtol=1e-6)
    with pytest.raises(UserError, match="utt2dur lacks 1 ids .*: w"):
        measure("log_duration", compared, i, j, utt2dur={"u": "2", "v": "3"})
    with pytest.raises(UserError, match="log_duration needs --utt2dur"):
        measure("log_duration", compared, i, j, utt2dur=None)


def test_the_programs_with_qualities(tmp_path, call):
    """Two of four utterances are long; what is measured is what calibration takes."""
    vectors = np.random.default_rng(0).standard_normal((33, 6)).astype(np.float32)
    names = [f"s{n // 4}-{n % 4}" for n in range(24)]
    write_vectors(tmp_path / "embedding", dict(zip(names, vectors[:24], strict=True)))
    write_vectors(tmp_path / "cohort", {f"c{n}": vector for n, vector in enumerate(vectors[24:])})
    (tmp_path / "utt2dur").write_text("".join(f"{name} {1 + n % 4}\n" for n, name in enumerate(names)))
    (tmp_path / "trials").write_text("".join(
        f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n" for a in names for b in names if a < b))
    trials, scp, scores = tmp_path / "trials", tmp_path / "embedding.scp", tmp_path / "scores"
    assert call("steps/score_trials.py", trials, scp, scores).returncode == 0
    done = call("steps/measure_quality.py", "--cohort", tmp_path / "cohort.scp", "--cohort-top", 4, trials, scp,
                tmp_path / "q/trials", "--quality", "log_duration", "cohort_mean")
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "q").iterdir())
    assert [path.name for path in files] == [f"trials.{quality}_{side}" for quality in ("cohort_mean", "log_duration")
                                             for side in ("larger", "smaller")]
    first = (tmp_path / "q/trials.log_duration_larger").read_text().split("\n")[2]
    assert first == f"s0-0 s0-3 {math.log(4):.6f}"
    done = call("steps/train_calibration.py", "--prior", 0.2, trials, scores, tmp_path / "c.json", "--quality", *files)
    assert done.returncode == 0 and "log_duration: off, Cllr" in done.stdout, done.stderr
    assert [*read_calibration(tmp_path / "c.json").weights] == ["score"]  # random embeddings do not depend on lengths
    columns = {"score": scores} | {path.suffix[1:]: path for path in files}
    values = {name: float(path.read_text().split()[2]) for name, path in columns.items()}
    weights = {"score": 2.0, "log_duration_smaller": 0.5, "cohort_mean_larger": 3.0, "score*log_duration_smaller": -1.5,
               "score*cohort_mean_larger": 0.25}
    write_calibration(tmp_path / "c.json", Calibration(0.1, 1.0, weights, {
        "log_duration_smaller": (-9.0, 0.3), "cohort_mean_larger": (-1.0, 1.0)}, (-50.0, 50.0)))
    apply_it = "steps/calibrate_scores.py", tmp_path / "c.json", trials, scores
    done = call(*apply_it, tmp_path / "llr", "--quality", *files)
    assert done.returncode == 0, done.stderr
    score, duration = values["score"], min(values["log_duration_smaller"], 0.3)
    expected = 1 + 2 * score + (0.5 - 1.5 * score) * duration + (3 + 0.25 * score) * values["cohort_mean_larger"]
    assert float((tmp_path / "llr").read_text().split()[2]) == pytest.approx(expected, abs=1e-5)
    done = call(*apply_it, tmp_path / "llr2")
    assert done.returncode == 1 and "found score" in done.stderr and not (tmp_path / "llr2").exists()
    files[0].write_text("")
    done = call(*apply_it, tmp_path / "llr2", "--quality", *files)
    assert done.returncode == 1 and "276 trials with a score have no value: s0-0 s0-1" in done.stderr
