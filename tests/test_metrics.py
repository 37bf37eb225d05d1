"""Error rates and likelihood-ratio costs: hand-worked, by a slow second opinion, and by scikit-learn."""

import math
from itertools import pairwise

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from deepspeaker.errors import UserError
from deepspeaker.metrics import describe, rates
from deepspeaker.metrics.describe import compute_metrics
from deepspeaker.metrics.likelihood import cllr, min_cllr
from deepspeaker.metrics.rates import act_dcf, eer, eer_kaldi, eer_threshold, error_rates, min_dcf, miss_at, rank


def trials(targets, nontargets):
    return np.array([*targets, *nontargets], float), np.array([True] * len(targets) + [False] * len(nontargets), bool)


lists = st.tuples(*[st.lists(st.integers(-5, 5), min_size=1, max_size=12)] * 2)


def test_worked_by_hand():
    ranking = rank(*trials([2, 0.5, 3], [1, -1, 0.7]))
    assert eer_kaldi(ranking) == pytest.approx(1 / 3)
    assert eer(ranking) == pytest.approx(1 / 3) and eer_threshold(ranking) == 0.7  # accepts neither 0.5 nor 0.7
    for prior in (0.01, 0.001, 0.5):
        assert min_dcf(ranking, prior) == pytest.approx(1 / 3)
    assert miss_at(ranking, 0.7) == 0 and miss_at(ranking, 0.5) == pytest.approx(1 / 3)
    assert act_dcf(ranking, 0.5) == pytest.approx(2 / 3)  # at 0: no miss, two of three false accepts
    assert act_dcf(ranking, 0.5, cost_false_accept=math.e) == pytest.approx((1 + math.e) / 3)  # at 1, which is accepted
    assert cllr(ranking) == pytest.approx(
        (math.log2(1 + math.exp(-2)) + math.log2(1 + math.exp(-0.5)) + math.log2(1 + math.exp(-3))) / 6
        + (math.log2(1 + math.exp(1)) + math.log2(1 + math.exp(-1)) + math.log2(1 + math.exp(0.7))) / 6)


@pytest.mark.parametrize("targets, nontargets, expected", [
    ([3, 4], [1, 2], 0), ([1, 2], [3, 4], 1), ([1, 1], [1, 1, 1], 0.5), ([2, 1], [1, 0], 0.25),
    ([1, 2, 3, 4], [0, 1.5], 0.25), ([5], [1], 0)])
def test_eer_of_small_lists(targets, nontargets, expected):
    assert describe.eer(*trials(targets, nontargets)) == pytest.approx(expected, abs=1e-12)


@given(lists)
def test_eer_along_the_points_of_error_rates(pair):
    ranking = rank(*trials(*pair))
    miss, false_accept = error_rates(ranking)
    after = next(i for i in range(len(miss)) if miss[i] >= false_accept[i])
    gap, next_gap = false_accept[after - 1] - miss[after - 1], false_accept[after] - miss[after]
    expected = miss[after - 1] + gap / (gap - next_gap) * (miss[after] - miss[after - 1])
    assert eer(ranking) == pytest.approx(expected)


@given(lists)
def test_error_rates_by_counting(pair):
    scores, labels = trials(*pair)
    miss, false_accept = error_rates(rank(scores, labels))
    thresholds = [-np.inf, *sorted(set(scores.tolist()))]
    assert miss.tolist() == pytest.approx([np.mean(scores[labels] <= t) for t in thresholds])
    assert false_accept.tolist() == pytest.approx([np.mean(scores[~labels] > t) for t in thresholds])


@given(lists)
def test_error_rates_are_scikit_learns(pair):
    scores, labels = trials(*pair)
    false_accept, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    miss, ours = error_rates(rank(scores, labels))
    np.testing.assert_allclose(miss[::-1], 1 - hits, atol=1e-12)
    np.testing.assert_allclose(ours[::-1], false_accept, atol=1e-12)


@given(lists)
def test_eer_kaldi_step_by_step(pair):
    scores, labels = trials(*pair)
    target, nontarget = sorted(scores[labels]), sorted(scores[~labels])
    i = 0
    while i + 1 < len(target):
        place = max(0, len(nontarget) - 1 - int(len(nontarget) * i / len(target)))
        if nontarget[place] < target[i]:
            break
        i += 1
    assert eer_kaldi(rank(scores, labels)) == pytest.approx(i / len(target))


def least_cost(scores, labels, prior, cost_miss=1.0, cost_false_accept=1.0):
    weights = cost_miss * prior, cost_false_accept * (1 - prior)
    return min(weights[0] * np.mean(scores[labels] <= t) + weights[1] * np.mean(scores[~labels] > t)
               for t in [-np.inf, *scores]) / min(weights)


@given(lists, st.sampled_from([0.01, 0.3, 0.9]), *[st.sampled_from([1.0, 5.0])] * 2)
def test_min_dcf_by_trying_every_threshold(pair, prior, cost_miss, cost_false_accept):
    scores, labels = trials(*pair)
    expected = least_cost(scores, labels, prior, cost_miss, cost_false_accept)
    assert min_dcf(rank(scores, labels), prior, cost_miss, cost_false_accept) == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_min_dcf_in_blocks(size, monkeypatch):
    rng = np.random.default_rng(0)
    scores, labels = trials(rng.normal(1, 1, 300).round(1), rng.normal(-1, 1, 500).round(1))
    monkeypatch.setattr(rates, "THRESHOLDS_AT_ONCE", size)
    for prior in (0.5, 0.1, 0.01):
        assert min_dcf(rank(scores, labels), prior) == pytest.approx(least_cost(scores, labels, prior))


@given(lists, st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_miss_at_by_trying_every_threshold(pair, most):
    scores, labels = trials(*pair)
    expected = min(np.mean(scores[labels] <= t) for t in [-np.inf, *scores] if np.mean(scores[~labels] > t) <= most)
    assert miss_at(rank(scores, labels), most) == pytest.approx(expected)


@given(lists, st.sampled_from([0.01, 0.5, 0.9]))
def test_act_dcf_by_counting(pair, prior):
    scores, labels = trials(*pair)
    threshold = math.log((1 - prior) / prior)
    cost = prior * np.mean(scores[labels] < threshold) + (1 - prior) * np.mean(scores[~labels] >= threshold)
    assert act_dcf(rank(scores, labels), prior) == pytest.approx(cost / min(prior, 1 - prior))


def pooled(scores, labels):
    """Shares [of targets, of nontargets] of the blocks left when neighbours that fall are pooled until none does."""
    blocks = []
    for score in sorted(set(scores.tolist())):
        blocks.append([np.sum(labels[scores == score]) / labels.sum(), np.sum(~labels[scores == score]) /
                       (~labels).sum()])
        while len(blocks) > 1 and blocks[-2][0] * sum(blocks[-1]) >= blocks[-1][0] * sum(blocks[-2]):
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1]]
    return blocks


@given(lists)
def test_min_cllr_by_pooling_adjacent_violators(pair):
    scores, labels = trials(*pair)
    expected = sum((t * math.log2(1 + n / t) if t else 0) + (n * math.log2(1 + t / n) if n else 0)
                   for t, n in pooled(scores, labels)) / 2
    assert min_cllr(rank(scores, labels)) == pytest.approx(expected, abs=1e-9)


def crossing(points):
    """Where the line through points (miss, false accept) has both alike, in percent."""
    for (miss, false_accept), (next_miss, next_false_accept) in pairwise(points):
        if next_miss >= next_false_accept:
            gap, next_gap = false_accept - miss, next_miss - next_false_accept
            return 100 * (miss + gap / (gap + next_gap) * (next_miss - miss))


def eer_of_steps(steps):
    """EER of shares (of the targets, of the nontargets) that are rejected one after another."""
    return crossing([(0, 1), *((miss, 1 - rejected) for miss, rejected in np.cumsum(steps, axis=0))])


def eer_of_hull(scores, labels):
    """On the convex hull of the ROC, which pooling adjacent violators leaves."""
    return eer_of_steps(pooled(scores, labels))


def eer_line_by_line(scores, labels):
    """Of equal scores, the line that comes first is rejected first."""
    labels = labels[np.argsort(scores, kind="stable")]
    return eer_of_steps(np.stack([labels / labels.sum(), ~labels / (~labels).sum()], 1))


@given(lists)
def test_a_hull_is_never_worse_and_splitting_ties_lies_around(pair):
    scores, labels = trials(*pair)
    assert eer_of_hull(scores, labels) <= describe.eer(scores, labels) * 100 + 1e-9
    split = eer_line_by_line(scores[::-1], labels[::-1]), eer_line_by_line(scores, labels)  # nontargets first, targets
    assert split[0] - 1e-9 <= describe.eer(scores, labels) * 100 <= split[1] + 1e-9


drawn = np.random.default_rng(0)


@pytest.mark.parametrize("name, targets, nontargets", [
    ("targets 3, 2, 0.5; nontargets 1, 0.7, -1", [3, 2, 0.5], [1, 0.7, -1]),
    ("targets 3, 2, 1, 1; nontargets 2, 1, 1, 0, 0", [3, 2, 1, 1], [2, 1, 1, 0, 0]),
    ("four targets and five nontargets, all scores equal", [0] * 4, [0] * 5),
    ("2,000 targets at 1 and 20,000 nontargets at -1, normal, deviation 1", drawn.normal(1, 1, 2000),
     drawn.normal(-1, 1, 20000))])
def test_eers_of_other_tools_are_those_of_the_table(name, targets, nontargets):
    """Kaldi's interpolates nothing, Hyperion and PYLLR take the hull, WeSpeaker and 3D-Speaker go line by line."""
    scores, labels = trials(targets, nontargets)
    found = compute_metrics(scores, labels)
    split = [f"{eer_line_by_line(scores[order], labels[order]):.2f}" for order in (slice(None, None, -1), slice(None))]
    row = [name, f"{found['eer']:.2f}", f"{found['eer_kaldi']:.2f}", f"{eer_of_hull(scores, labels):.2f}",
           " to ".join(dict.fromkeys(split))]
    assert f"\n| {' | '.join(row)} |\n" in (ROOT / "egs/voxceleb/README.md").read_text()


@given(lists, st.floats(0.1, 3), st.floats(-2, 2))
def test_no_calibration_beats_min_cllr(pair, slope, offset):
    scores, labels = trials(*pair)
    assert min_cllr(rank(scores, labels)) <= cllr(rank(slope * scores + offset, labels)) + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_both_eers_agree_on_large_lists(seed):
    rng = np.random.default_rng(seed)
    ranking = rank(*trials(rng.normal(1, 1, 2000), rng.normal(-1, 1, 20000)))
    assert eer(ranking) == pytest.approx(eer_kaldi(ranking), abs=1e-3)


def test_scores_that_say_nothing():
    """All equal: the documented values."""
    found = compute_metrics(*trials([0.3] * 4, [0.3] * 5), llr=np.zeros(9))
    assert found["eer"] == 50 and found["eer_kaldi"] == 75 and found["miss_at_fa_0.01"] == 100
    assert found["min_dcf_0.01"] == 1 and found["act_dcf_0.01"] == 1
    assert found["cllr"] == 1 and found["min_cllr"] == pytest.approx(1)


def test_perfect_scores():
    found = compute_metrics(*trials([40, 50], [-40, -50]), llr=np.array([40.0, 50, -40, -50]))
    assert {name for name, value in found.items() if not value > 1e-9} == found.keys() - {"n_target", "n_nontarget"}


def test_degenerate_lists_are_errors():
    with pytest.raises(UserError, match="2 target and 0 nontarget"):
        describe.eer(*trials([1, 2], []))
    with pytest.raises(UserError, match="0 target and 1 nontarget"):
        compute_metrics(*trials([], [1]))
    with pytest.raises(UserError, match="0 target and 0 nontarget"):
        compute_metrics(*trials([], []))
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(UserError, match="1 scores are not finite"):
            rank(*trials([1, value], [0]))
        with pytest.raises(UserError, match="1 scores are not finite"):
            compute_metrics(*trials([1, 2], [0]), llr=np.array([1, value, 0]))


def test_labels_that_are_not_bool_are_refused():
    with pytest.raises(TypeError, match="expected to be bool, found int64"):
        rank(np.array([1.0, 2.0]), np.array([0, 1]))


def test_all_figures():
    scores, labels = trials([2, 0.5, 3], [1, -1, 0.7])
    found = compute_metrics(scores, labels)
    assert found.keys() == {"eer", "eer_kaldi", "min_dcf_0.5", "min_dcf_0.05", "min_dcf_0.01", "min_dcf_0.001",
                            "miss_at_fa_0.01", "miss_at_fa_0.001", "n_target", "n_nontarget"}
    assert found["eer"] == pytest.approx(100 / 3) and found["n_target"] == 3 and found["n_nontarget"] == 3
    more = compute_metrics(scores, labels, llr=scores).keys() - found.keys()
    priors = 0.5, 0.05, 0.01, 0.001
    assert more == {f"{name}_{prior}" for prior in priors for name in (
        "act_dcf", "miss_at_prior", "false_accept_at_prior")} | {"cllr", "min_cllr"}
    assert compute_metrics(scores, labels, llr=scores, prior=0.2).keys() - found.keys() - more == {
        "act_dcf_0.2", "miss_at_prior_0.2", "false_accept_at_prior_0.2"}


def test_misses_and_false_accepts_at_the_bayes_threshold():
    """At prior 0.2 a ratio of log 4 is accepted, anything less is not."""
    llr, labels = trials([np.log(4), 1.3, 5], [2, -1, 1.38])
    found = compute_metrics(llr, labels, llr=llr, prior=0.2)
    assert found["miss_at_prior_0.2"] == pytest.approx(100 / 3) == found["false_accept_at_prior_0.2"]
    assert found["act_dcf_0.2"] == pytest.approx((0.2 / 3 + 0.8 / 3) / 0.2)
