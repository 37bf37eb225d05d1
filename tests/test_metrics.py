"""Error rates: hand-worked, by a slow second opinion, and by scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from deepspeaker.command import UserError
from deepspeaker.metrics import compute_metrics, eer, eer_kaldi, error_rates, min_dcf


def trials(targets, nontargets):
    return np.array([*targets, *nontargets], float), np.array([True] * len(targets) + [False] * len(nontargets))


lists = st.tuples(*[st.lists(st.integers(-5, 5), min_size=1, max_size=12)] * 2)


def test_worked_by_hand():
    scores, labels = trials([2, 0.5, 3], [1, -1, 0.7])
    assert eer_kaldi(scores, labels) == pytest.approx(1 / 3)
    assert eer(scores, labels) == pytest.approx(1 / 3)
    for prior in (0.01, 0.001, 0.5):
        assert min_dcf(scores, labels, prior) == pytest.approx(1 / 3)


@pytest.mark.parametrize("targets, nontargets, expected", [
    ([3, 4], [1, 2], 0), ([1, 2], [3, 4], 1), ([1, 1], [1, 1, 1], 0.5), ([2, 1], [1, 0], 0.25),
    ([1, 2, 3, 4], [0, 1.5], 0.25), ([5], [1], 0)])
def test_eer_of_small_lists(targets, nontargets, expected):
    assert eer(*trials(targets, nontargets)) == pytest.approx(expected, abs=1e-12)


@given(lists)
def test_error_rates_by_counting(pair):
    scores, labels = trials(*pair)
    miss, false_accept = error_rates(scores, labels)
    thresholds = [-np.inf, *sorted(set(scores.tolist()))]
    assert miss.tolist() == pytest.approx([np.mean(scores[labels] <= t) for t in thresholds])
    assert false_accept.tolist() == pytest.approx([np.mean(scores[~labels] > t) for t in thresholds])


@given(lists)
def test_error_rates_are_scikit_learns(pair):
    scores, labels = trials(*pair)
    false_accept, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    miss, ours = error_rates(scores, labels)
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
    assert eer_kaldi(scores, labels) == pytest.approx(i / len(target))


@given(lists, st.sampled_from([0.01, 0.3, 0.9]), st.sampled_from([1.0, 5.0]))
def test_min_dcf_by_trying_every_threshold(pair, prior, cost_miss):
    scores, labels = trials(*pair)
    costs = [cost_miss * prior * np.mean(scores[labels] <= t) + (1 - prior) * np.mean(scores[~labels] > t)
             for t in [-np.inf, *scores]]
    expected = min(costs) / min(cost_miss * prior, 1 - prior)
    assert min_dcf(scores, labels, prior, cost_miss) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_both_eers_agree_on_large_lists(seed):
    rng = np.random.default_rng(seed)
    scores, labels = trials(rng.normal(1, 1, 2000), rng.normal(-1, 1, 20000))
    assert eer(scores, labels) == pytest.approx(eer_kaldi(scores, labels), abs=1e-3)


def test_degenerate_lists_are_errors():
    with pytest.raises(UserError, match="2 target and 0 nontarget"):
        eer(*trials([1, 2], []))
    with pytest.raises(UserError, match="0 target and 1 nontarget"):
        compute_metrics(*trials([], [1]))
    for value in (np.nan, np.inf):
        with pytest.raises(UserError, match="1 scores are not finite"):
            eer_kaldi(*trials([1, value], [0]))


def test_labels_that_are_not_bool_are_refused():
    with pytest.raises(TypeError, match="expected to be bool, found int64"):
        eer(np.array([1.0, 2.0]), np.array([0, 1]))


def test_all_figures():
    found = compute_metrics(*trials([2, 0.5, 3], [1, -1, 0.7]))
    assert found.keys() == {"eer", "eer_kaldi", "min_dcf_0.01", "min_dcf_0.001", "n_target", "n_nontarget"}
    assert found["eer"] == pytest.approx(100 / 3) and found["n_target"] == 3 and found["n_nontarget"] == 3
