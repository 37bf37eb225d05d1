"""Intervals over speakers and paired differences."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepspeaker.metrics.bootstrap import SortedSpeakers, draws, enough_speakers, interval, resampled
from deepspeaker.metrics.breakdown import Grouping, breakdown
from deepspeaker.metrics.compare import compare
from deepspeaker.metrics.describe import compute_metrics, eer, llr_metrics, score_metrics
from deepspeaker.metrics.rates import rank


def all_pairs(speakers, utterances):
    """(speakers (n, 2), labels (n,)) of all trials of so many speakers with so many utterances."""
    speaker = np.repeat(np.arange(speakers), utterances)
    pairs = np.stack([speaker[side] for side in np.triu_indices(len(speaker), 1)], 1)
    return pairs, pairs[:, 0] == pairs[:, 1]


def draw_scores(pairs, labels, rng):
    """Scores on which a speaker has an effect of its own, as in reality."""
    effect = rng.normal(0, 0.7, pairs.max() + 1)
    return rng.normal(np.where(labels, 2.5, 0)) + effect[pairs].sum(1)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_a_weight_is_as_many_copies(seed, counts):
    """Every metric of the weighted ranking is that of a list in which the trials stand so often."""
    pairs, labels = all_pairs(4, 2)
    scores = draw_scores(pairs, labels, np.random.default_rng(seed)).round(1)
    counts = np.array(counts)
    times = np.where(labels, counts[pairs[:, 0]], counts[pairs[:, 0]] * counts[pairs[:, 1]])
    drawn = SortedSpeakers(scores, labels, pairs).weighted(rank(scores, labels), counts)
    if drawn is None:
        assert not times[labels].any() or not times[~labels].any()
        return
    copies = rank(np.repeat(scores, times), np.repeat(labels, times))
    for metrics in (score_metrics(), llr_metrics(rank(scores, labels))):
        for name, metric in metrics.items():
            expected = {**score_metrics(), **llr_metrics(copies)}[name](copies)
            assert metric(drawn) == pytest.approx(expected, abs=1e-9), name


def test_draws_are_of_all_speakers_and_follow_from_the_seed():
    first, again, other = (np.array(list(draws(7, 50, seed))) for seed in (1, 1, 2))
    assert (first.sum(1) == 7).all() and (first == again).all() and (first != other).any()
    assert np.array(list(draws(7, 20000, 0))).mean(0) == pytest.approx(np.ones(7), abs=0.03)


def test_intervals_hold_what_other_speakers_give():
    """95 % promised; by drawing new speakers 60 times, at least 85 % held."""
    pairs, labels = all_pairs(25, 4)
    truth = np.mean([100 * eer(draw_scores(pairs, labels, np.random.default_rng(1000 + n)), labels)
                     for n in range(300)])
    held = 0
    for n in range(60):
        scores = draw_scores(pairs, labels, np.random.default_rng(n))
        values = resampled(scores, labels, pairs, {"eer": score_metrics()["eer"]}, resamples=200)["eer"]
        low, high = interval(values)
        held += low <= truth <= high
    assert held >= 51


def test_every_metric_has_its_interval():
    pairs, labels = all_pairs(6, 4)
    scores = draw_scores(pairs, labels, np.random.default_rng(0))
    found = compute_metrics(scores, labels, llr=scores, speakers=pairs)
    names = [name for name in found if f"{name}_low" in found]
    assert len(names) == 22
    for name in names:
        assert found[f"{name}_low"] <= found[f"{name}_high"]
    for name in ("eer", "cllr", "act_dcf_0.05"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
    assert found == compute_metrics(scores, labels, llr=scores, speakers=pairs)


def test_too_few_speakers_have_no_interval():
    pairs, labels = all_pairs(4, 4)
    scores = draw_scores(pairs, labels, np.random.default_rng(0))
    found = compute_metrics(scores, labels, speakers=pairs)
    assert found["eer_low"] is None and found["eer_high"] is None
    row = compare(scores, scores, labels, pairs)["eer"]
    assert row["difference"] == 0 and row["low"] is None and row["high"] is None


def test_enough_speakers_are_five_with_target_trials():
    pairs, labels = all_pairs(8, 2)
    for speakers, enough in ((4, False), (5, True)):
        kept = ~labels | (pairs[:, 0] < speakers)
        assert enough_speakers(labels[kept], pairs[kept]) is enough


def test_an_interval_is_the_middle_of_the_draws_that_have_a_value():
    assert interval(np.array([np.nan, *range(100, -1, -1), np.nan])) == (2.5, 97.5)


def test_as_many_speakers_are_drawn_as_there_are():
    """Each has six target trials, so all draws have as many as the list."""
    pairs, labels = all_pairs(6, 4)
    scores, total = np.arange(len(labels), dtype=float), lambda drawn: drawn.target_below[-1]
    found = resampled(scores, labels, pairs, {"n": total}, resamples=50)
    assert found["n"].tolist() == [36] * 50


def test_a_group_of_all_trials_has_the_lists_interval():
    pairs, labels = all_pairs(6, 3)
    scores = draw_scores(pairs, labels, np.random.default_rng(0))
    (row,) = breakdown(Grouping("x", {"all": labels | ~labels}), scores, labels, pairs)
    expected = interval(resampled(scores, labels, pairs, {"eer": score_metrics()["eer"]})["eer"])
    assert (row["eer_low"], row["eer_high"]) == pytest.approx(expected) and 0 < row["eer_low"] < row["eer"]


def test_draws_without_targets_have_no_value():
    pairs, labels = all_pairs(6, 2)
    kept = ~labels | (pairs[:, 0] == 0)  # targets of one speaker, whom a third of the draws lacks
    values = resampled(np.arange(kept.sum(), dtype=float), labels[kept], pairs[kept], {"eer": score_metrics()["eer"]})
    missing = np.isnan(values["eer"]).mean()
    assert missing == pytest.approx((5 / 6) ** 6, abs=0.05)


def test_a_difference_is_surer_than_the_values():
    pairs, labels = all_pairs(20, 4)
    rng = np.random.default_rng(0)
    a = draw_scores(pairs, labels, rng)
    b = a + rng.normal(0, 0.1, len(a)) + 0.4 * labels
    row = compare(a, b, labels, pairs, llr=True)["eer"]
    single = compute_metrics(a, labels, speakers=pairs)
    assert row["difference"] == row["b"] - row["a"] < 0 and row["a"] == single["eer"]
    assert row["high"] < 0 and row["high"] - row["low"] < 0.7 * (single["eer_high"] - single["eer_low"])
    reverse = compare(b, a, labels, pairs)["eer"]
    assert (reverse["low"], reverse["high"]) == pytest.approx((-row["high"], -row["low"]))


@pytest.mark.long
def test_seeds_are_compared_by_their_means():
    pairs, labels = all_pairs(12, 4)
    a = [draw_scores(pairs, labels, np.random.default_rng(seed)) for seed in range(3)]
    b = [draw_scores(pairs, labels, np.random.default_rng(10 + seed)) for seed in range(3)]
    together, apart = compare(a, b, labels, pairs), [compare(*pair, labels, pairs) for pair in zip(a, b, strict=True)]
    for name, row in together.items():
        assert row["difference"] == pytest.approx(np.mean([each[name]["difference"] for each in apart]))
    draws = [[resampled(s, labels, pairs, score_metrics())["eer"] for s in system] for system in (a, b)]
    low, high = np.percentile(np.mean(draws[1], 0) - np.mean(draws[0], 0), (2.5, 97.5))
    assert (together["eer"]["low"], together["eer"]["high"]) == pytest.approx((low, high))


def write(folder, scores, pairs, labels):
    names = [f"s{s}-{n}" for s in range(pairs.max() + 1) for n in range(3)]
    (folder / "utt2spk").write_text("".join(f"{name} {name.split('-')[0]}\n" for name in names))
    ids = list(zip(*([names[i] for i in side] for side in np.triu_indices(len(names), 1)), strict=True))
    (folder / "trials").write_text("".join(f"{a} {b} {'target' if label else 'nontarget'}\n"
                                           for (a, b), label in zip(ids, labels, strict=True)))
    for name, values in scores.items():
        (folder / name).write_text("".join(f"{a} {b} {v:.6f}\n" for (a, b), v in zip(ids, values, strict=False)))


def test_compare_scores(call, tmp_path):
    pairs, labels = all_pairs(6, 3)
    a, b = (draw_scores(pairs, labels, np.random.default_rng(seed)) for seed in (0, 1))
    write(tmp_path, {"a": a, "b": b, "short": a[:-1]}, pairs, labels)
    done = call("steps/compare_scores.py", "--json", "--llr", tmp_path / "a", tmp_path / "b", tmp_path / "trials")
    assert done.returncode == 0, done.stderr
    found, expected = json.loads(done.stdout), compare(a.round(6), b.round(6), labels, pairs, llr=True)
    assert found.keys() == expected.keys() and found["cllr"] == pytest.approx(expected["cllr"])
    shown = call("steps/compare_scores.py", tmp_path / "a", tmp_path / "b", tmp_path / "trials").stdout
    assert f"{expected['eer']['difference']:+.3f}   {expected['eer']['low']:+.3f} to" in shown
    done = call("steps/compare_scores.py", "--json", "--also", tmp_path / "b", tmp_path / "a", tmp_path / "a",
                tmp_path / "b", tmp_path / "trials")
    assert json.loads(done.stdout)["eer"]["difference"] == pytest.approx(0), done.stderr
    done = call("steps/compare_scores.py", tmp_path / "a", tmp_path / "short", tmp_path / "trials")
    assert done.returncode == 1 and "short: has scores of 152 trials" in done.stderr
    assert "the same 153 trials" in done.stderr and done.stderr.count("\n") == 1
