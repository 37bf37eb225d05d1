"""What calibration learns from: trials across conditions, their weights, qualities that hold for others, bounds."""

import itertools
import json

import numpy as np
import pytest
from lir.algorithms.bayeserror import elub

from deepspeaker.datadir import read_lists, read_table
from deepspeaker.datadir.archive import write_vectors
from deepspeaker.datadir.trials import TrialList, read_trials
from deepspeaker.errors import UserError
from deepspeaker.inference.model_file import best_first
from deepspeaker.metrics.likelihood import cllr
from deepspeaker.metrics.rates import rank
from deepspeaker.scoring import calibration_trials
from deepspeaker.scoring.bounds import empirical_bounds
from deepspeaker.scoring.calibration import Calibration, apply, fit, write_calibration
from deepspeaker.scoring.calibration_trials import alike, draw
from deepspeaker.scoring.evidence import (
    Evidence,
    halfway,
    held_out_folds,
    held_out_llr,
    learn,
    mean_cllr,
    pair_numbers,
    widest_bounds,
)


def evidence(speakers=15, seed=0, conditions=1, **qualities):
    """All pairs of four utterances of each speaker: targets score N(2, 1), nontargets N(0, 1), plus what the speakers
    of a trial add. qualities: name -> (n,) from the trials' labels."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(speakers), 4)
    pairs = np.array([*itertools.combinations(range(len(of)), 2)] * conditions)
    sides = of[pairs]
    labels = sides[:, 0] == sides[:, 1]
    scores = rng.standard_normal(len(labels)) + 2 * labels + 0.3 * rng.standard_normal(speakers)[sides].sum(1)
    columns = {"score": scores, **{name: make(rng, scores, labels) for name, make in qualities.items()}}
    return Evidence(columns, labels, sides, np.repeat(np.arange(conditions), len(labels) // conditions), float(len(of)))


@pytest.mark.parametrize("seed, shift, scale", [(0, 0, 1), (1, 2, 1), (2, -1, 3), (3, 0, 0.2), (4, 0, 50)])
def test_bounds_are_those_of_the_reference(seed, shift, scale):
    """lir, of the Netherlands Forensic Institute, counts trials; its ratios are logarithms to base 10."""
    rng = np.random.default_rng(seed)
    labels = np.arange(500) % 5 == 0
    llr = scale * (rng.standard_normal(500) * 2 + 4 * labels - 2 + shift)
    found = empirical_bounds(llr, labels, np.ones(500), 100, 400)
    expected = np.array(elub(llr / np.log(10), labels.astype(int), step_size=0.002)) * np.log(10)
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_bounds_of_separated_scores_follow_from_the_counts():
    labels = np.arange(60) < 20
    for size in (30, 1e6):
        low, high = empirical_bounds(np.where(labels, size, -size), labels, np.ones(60), 20, 190)
        assert low == pytest.approx(-np.log(21 * 190 / 191), abs=0.02)
        assert high == pytest.approx(np.log(191 * 20 / 21), abs=0.02)
    assert empirical_bounds(np.zeros(60), labels, np.ones(60), 20, 190) == (0, 0)  # says nothing, so supports nothing


def test_bounds_count_what_weighs():
    """Ten copies of each trial, each of a tenth of the weight, change nothing."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4 == 0
    llr = rng.standard_normal(200) * 2 + 3 * labels - 1
    weights = rng.uniform(0.1, 1, 200)
    once = empirical_bounds(llr, labels, weights, 50, 150)
    assert empirical_bounds(np.repeat(llr, 10), np.repeat(labels, 10), np.repeat(weights / 10, 10), 50, 150) == once


def test_the_widest_condition_bounds():
    """In the second condition scores say nothing: what the first supports stays."""
    both = evidence(conditions=2)
    noisy = both.conditions == 1
    both.columns["score"][noisy] = np.random.default_rng(5).standard_normal(noisy.sum())
    calibration = Calibration(0.5, -2.0, {"score": 2.0})
    apart = [widest_bounds(calibration, both.among(which)) for which in (~noisy, noisy)]
    assert widest_bounds(calibration, both) == (min(a for a, _ in apart), max(b for _, b in apart)) == apart[0]
    assert apart[1][1] < apart[0][1]


def test_each_pair_of_speakers_weighs_the_same_in_each_pair_of_conditions():
    found = evidence(speakers=5, conditions=2)
    found = found.among(np.random.default_rng(0).random(len(found.labels)) < 0.7)
    sums = {}
    for (a, b), condition, weight in zip(found.speakers.tolist(), found.conditions, found.weights(), strict=True):
        key = (condition, min(a, b), max(a, b))
        sums[key] = sums.get(key, 0) + weight
    assert len(sums) == 2 * (5 + 10) and np.allclose([*sums.values()], 1)
    numbers = pair_numbers(*np.array([*itertools.product(range(9), repeat=2)]).T)
    assert len(set(numbers)) == 45 and numbers[9 * 2 + 7] == numbers[9 * 7 + 2]


def test_halfway_between_a_prior_and_even_odds():
    assert halfway(0.5) == 0.5 and halfway(0.01) == pytest.approx(1 / (1 + np.sqrt(99)))


def test_a_quality_is_used_only_where_it_helps_speakers_held_out():
    """Where `useful` is low a score says half as much; `useless` says nothing."""
    def useful(rng, scores, labels):
        found = rng.uniform(0, 1, len(scores))
        scores[found < 0.5] = 0.1 * (scores[found < 0.5] - 1) + 1 + 0.5 * rng.standard_normal((found < 0.5).sum())
        return found

    trials = evidence(useful_smaller=useful, useless_smaller=lambda rng, *_: rng.standard_normal(1770))
    calibration, lines = learn(trials, 0.5)
    assert calibration.qualities == ["useful"] and [*calibration.weights] == [
        "score", "useful_smaller", "score*useful_smaller"]
    assert lines[0].startswith("useful: used, Cllr of speakers held out 0.")
    assert lines[1].startswith("useless: off, Cllr of speakers held out 0.")
    without = learn(trials._replace(columns={"score": trials.columns["score"]}), 0.5).calibration
    assert calibration.cllr < without.cllr - 0.01 and calibration.speakers == 15
    few = trials.among((trials.speakers < 9).all(1))
    calibration, lines = learn(few, 0.5)
    assert calibration.qualities == [] and lines[0] == "useful: off, 9 speakers are too few to learn it (at least 10)"


def test_two_speakers_have_nobody_to_hold_out():
    calibration, _ = learn(evidence(speakers=2), 0.01)
    assert calibration.cllr is None and calibration.bounds[1] <= np.log(2)


def test_held_out_ratios_are_of_calibrations_that_have_not_seen_a_speaker():
    trials = evidence()
    calibration = learn(trials, 0.1).calibration
    found = held_out_llr(trials, calibration)
    folds = list(held_out_folds(trials, [], calibration.prior))
    assert len(folds) == 5 and np.all(sum(which.astype(int) for which, _ in folds) >= 1)
    n = int(np.flatnonzero(folds[0][0] & ~sum(which for which, _ in folds[1:]).astype(bool))[0])
    seen = ~np.isin(trials.speakers, np.unique(trials.speakers[folds[0][0] & trials.labels])).any(1)
    again = fit({"score": trials.columns["score"][seen]}, trials.labels[seen], calibration.prior,
                trials.among(seen).weights())
    assert found[n] == pytest.approx(np.clip(apply(again, {"score": trials.columns["score"][n:n + 1]})[0],
                                             *calibration.bounds), abs=1e-6)


def test_the_mean_cllr_of_equal_weights_is_cllr():
    trials = evidence()
    calibration = Calibration(0.5, -1.0, {"score": 1.5})
    llr = apply(calibration, trials.columns)
    assert mean_cllr(calibration, trials) == pytest.approx(cllr(rank(llr, trials.labels)), rel=1e-9)


def test_speakers_meet_the_third_most_alike_of_their_gender():
    angles = {name: np.radians(angle) for name, angle in zip("abcdefgh", range(0, 80, 10), strict=True)}
    means = {name: np.array([np.cos(angle), np.sin(angle)]) for name, angle in angles.items()}
    found = alike(means, {})
    assert ("a", "b") in found and ("a", "d") in found and ("a", "e") not in found  # 3 of 7 others, rounded up
    assert {(b, a) for a, b in found} == found and not any(a == b for a, b in found)
    genders = dict.fromkeys("aceg", "f") | dict.fromkeys("bdf", "m")
    found = alike(means, genders)
    assert ("a", "b") not in found and ("a", "c") in found and ("b", "d") in found
    assert ("h", "g") in found and ("h", "f") in found  # nobody knows h's
    assert alike({"a": means["a"], "b": means["b"]}, {"a": "f", "b": "m"}) == {("a", "b"), ("b", "a")}


def test_trials_across_conditions(monkeypatch):
    ids = ["a1", "a2", "b1", "b2", "c1", "c2"]
    listed = TrialList(ids, ids, np.array([0, 2, 0]), np.array([1, 3, 4]), np.array([True, True, False]))
    who = [i[0] for i in ids]
    names = [(ids, ids), ([f"{i}-n" for i in ids], [f"{i}-n" for i in ids])]
    found = draw(listed, (who, who), {("a", "b"), ("b", "a")}, names, 0)
    targets = {trial[:2] for trial in found if trial.target}
    assert targets == {(f"{x}1{s}", f"{x}2{t}") for x in "ab" for s in ("", "-n") for t in ("", "-n")}
    others = [trial for trial in found if not trial.target]
    assert {trial.first[0] + trial.second[0] for trial in others} == {"ab", "ba"} and len(others) == 4 * 8
    assert found == draw(listed, (who, who), {("b", "a"), ("a", "b")}, names, 0) == sorted(set(found))
    monkeypatch.setattr(calibration_trials, "MOST", 16)
    assert sum(not trial.target for trial in draw(listed, (who, who), {("a", "b"), ("b", "a")}, names, 0)) == 16
    monkeypatch.setattr(calibration_trials, "MOST", 4)  # fewer than pairs of speakers in all combinations
    assert sum(not trial.target for trial in draw(listed, (who, who), {("a", "b"), ("b", "a")}, names, 0)) == 4


@pytest.fixture
def dev(tmp_path):
    """Six speakers of three utterances, and a copy with noise; embeddings of both."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 8))
    ids = [f"s{n // 3}-{n % 3}" for n in range(18)]
    for name, ending in (("dev", ""), ("dev_noise", "-noise")):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        (folder / "utt2spk").write_text("".join(f"{i}{ending} {i[:2]}\n" for i in ids))
        (folder / "trials").write_text("".join(
            f"{a}{ending} {b}{ending} {'target' if a[:2] == b[:2] else 'nontarget'}\n"
            for a, b in itertools.combinations(ids, 2)))
        (tmp_path / "embeddings" / name).mkdir(parents=True)
        write_vectors(tmp_path / "embeddings" / name / "embedding", {
            f"{i}{ending}": (centres[int(i[1])] + rng.standard_normal(8)).astype(np.float32) for i in ids})
    (tmp_path / "data/dev/spk2gender").write_text("".join(f"s{n} {'fm'[n % 2]}\n" for n in range(6)))
    return tmp_path


def make_set(call, dev, *options):
    return call("steps/make_calibration_set.py", *options, dev / "data/dev", dev / "embeddings", dev / "set")


def test_the_calibration_set(dev, call):
    done = make_set(call, dev, "--conditions", "noise")
    assert done.returncode == 0 and "of 6 speakers in clean, noise\n" in done.stdout, done.stderr
    trials, speaker = read_trials(dev / "set/trials"), read_table(dev / "set/utt2spk")
    condition = read_table(dev / "set/utt2condition")
    for target, count in ((True, 4 * 18), (False, None)):
        mine = [trial for trial in trials if trial.target == target]
        assert all((speaker[t.first] == speaker[t.second]) == target for t in mine)
        assert count in (None, len(mine)) and len({(condition[t.first], condition[t.second]) for t in mine}) == 4
    assert all((int(speaker[t.first][1]) - int(speaker[t.second][1])) % 2 == 0 for t in trials)  # of one gender
    assert not any(t.first.removesuffix("-noise") == t.second.removesuffix("-noise") for t in trials)
    done = call("steps/score_trials.py", dev / "set/trials", dev / "set/embedding.scp", dev / "scores")
    assert done.returncode == 0 and done.stdout.endswith(f"{len(trials)} trials scored, 0 lost\n"), done.stderr
    done = call("steps/train_calibration.py", dev / "set/trials", dev / "scores", dev / "c.json")
    assert done.returncode == 0 and "6 speakers support decisions at target priors from 0." in done.stdout, done.stderr
    found = json.loads((dev / "c.json").read_text())
    assert found["speakers"] == 6 and found["prior"] == pytest.approx(halfway(0.01)) and 0 < found["cllr"] < 2
    assert -np.log(10) <= found["bounds"][0] <= 0 <= found["bounds"][1] <= np.log(16)


def test_the_calibration_set_with_speaker_models(dev, call):
    """Models are enrolled in each condition."""
    for name, ending in (("dev", ""), ("dev_noise", "-noise")):
        (dev / f"data/{name}/enroll").write_text("".join(f"m{n} s{n}-0{ending} s{n}-1{ending}\n" for n in range(6)))
        (dev / f"data/{name}/trials").write_text("".join(
            f"m{n} s{m}-2{ending} {'target' if n == m else 'nontarget'}\n" for n in range(6) for m in range(6)))
    done = make_set(call, dev, "--conditions", "noise")
    assert done.returncode == 0, done.stderr
    enroll, trials = read_lists(dev / "set/enroll"), read_trials(dev / "set/trials")
    assert enroll["noise-m3"] == ["s3-0-noise", "s3-1-noise"] and enroll["clean-m3"] == ["s3-0", "s3-1"]
    assert {t[:2] for t in trials if t.target and t.first.endswith("m3")} == {
        (f"{c}-m3", f"s3-2{ending}") for c in ("clean", "noise") for ending in ("", "-noise")}
    assert call("steps/score_trials.py", "--enroll", dev / "set/enroll", dev / "set/trials", dev / "set/embedding.scp",
                dev / "scores").returncode == 0
    done = call("steps/train_calibration.py", dev / "set/trials", dev / "scores", dev / "c.json")
    assert done.returncode == 0 and "6 speakers support decisions at target priors from 0." in done.stdout, done.stderr


def test_a_copy_with_other_trials(dev, call):
    path = dev / "data/dev_noise/trials"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    done = make_set(call, dev, "--conditions", "noise")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and not (dev / "set").exists()
    assert f"{path}: expected the trials of {dev}/data/dev/trials line by line, found others" in done.stderr


def test_the_back_end_with_the_lowest_cllr_comes_first(tmp_path):
    (tmp_path / "calibration").mkdir()
    for name, value in (("cosine", 0.3), ("asnorm", 0.2), ("plda", None)):
        write_calibration(tmp_path / f"calibration/{name}.json", Calibration(0.1, 0.0, {"score": 1.0}, cllr=value))
    names, why = best_first(tmp_path, ["plda", "cosine", "asnorm"])
    assert names == ["asnorm", "cosine", "plda"] and why.endswith("in bits: asnorm 0.200, cosine 0.300")
    names, why = best_first(tmp_path / "none", ["cosine", "plda"])
    assert names == ["cosine", "plda"] and "too few speakers" in why


def test_a_development_set_of_one_speaker(dev, call):
    for name in ("dev", "dev_noise"):
        for table in ("utt2spk", "trials"):
            lines = (dev / f"data/{name}/{table}").read_text().splitlines(keepends=True)
            (dev / f"data/{name}/{table}").write_text("".join(line for line in lines if line.count("s0") > 1))
    done = make_set(call, dev)
    assert done.returncode == 0 and "3 target and 0 nontarget trials of 1 speakers" in done.stdout, done.stderr
    assert call("steps/score_trials.py", dev / "set/trials", dev / "set/embedding.scp", dev / "s").returncode == 0
    done = call("steps/train_calibration.py", dev / "set/trials", dev / "s", dev / "c.json")
    assert done.returncode == 1 and done.stderr.endswith("needs target and nontarget trials; found 3 and 0\n")


def test_features_of_an_earlier_version_have_no_qualities(dev, call):
    make_set(call, dev)
    words = dev / "set/trials", dev / "set/embedding.scp", dev / "q", "--quality", "snr"
    done = call("steps/measure_quality.py", *words)
    assert done.returncode == 1 and f"no {dev}/set/utt2quality, which has the qualities of recordings: make the " in (
        done.stderr)


def test_evidence_without_targets():
    trials = evidence()
    with pytest.raises(UserError, match="needs target and nontarget trials; found 0 and"):
        learn(trials.among(~trials.labels), 0.01)
