"""How good scores are as natural-log likelihood ratios: Cllr, and its minimum over all rising calibrations.

Brümmer and du Preez, Application-independent evaluation of speaker detection, Computer Speech and Language 20 (2006).
"""

from typing import NamedTuple

import numpy as np

from deepspeaker.metrics.rates import Ranking


class Costs(NamedTuple):
    """What each trial of a ranking costs in bits."""

    target: np.ndarray  # (T,) log2(1 + e^-llr)
    nontarget: np.ndarray  # (N,) log2(1 + e^llr)


def costs(ranking: Ranking) -> Costs:
    """The costs of a ranking's trials. They do not depend on the weights: all resamples share them."""
    return Costs(_bits(-ranking.target), _bits(ranking.nontarget))


def cllr(ranking: Ranking, of_trials: Costs | None = None) -> float:
    """Cost of the log likelihood ratios in bits per trial, both classes weighing the same; 1: no information.

    `of_trials`: what costs() found, for a ranking of the same scores with other weights.
    """
    of_trials = of_trials or costs(ranking)
    return (_mean(of_trials.target, np.diff(ranking.target_below))
            + _mean(of_trials.nontarget, np.diff(ranking.nontarget_below))) / 2


def runs(ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """Number of targets and of nontargets up to the end of each run of trials that min_cllr need not separate.

    A run is all trials of one score, or of neighbouring scores with trials of one class only. The runs do not depend on
    the weights, so they are found once for all resamples.
    """
    scores = np.unique(np.concatenate([ranking.target, ranking.nontarget]))
    targets = np.append(0, np.searchsorted(ranking.target, scores, "right"))
    nontargets = np.append(0, np.searchsorted(ranking.nontarget, scores, "right"))
    has_target, has_nontarget = np.diff(targets) > 0, np.diff(nontargets) > 0
    joined = (has_target[1:] == has_target[:-1]) & (has_nontarget[1:] == has_nontarget[:-1]) \
        & ~(has_target[1:] & has_nontarget[1:])
    ends = np.append(True, np.append(~joined, True))
    return targets[ends], nontargets[ends]


def min_cllr(ranking: Ranking, ends: tuple[np.ndarray, np.ndarray] | None = None) -> float:
    """The least Cllr that a rising map of the scores can reach: isotonic regression of the labels (PAV).

    `ends`: what runs() found, for a ranking of the same scores with other weights.
    """
    from sklearn.isotonic import isotonic_regression  # here: its import takes longer than most lists

    of_targets, of_nontargets = ends or runs(ranking)
    targets = np.diff(ranking.target_below[of_targets]).astype(np.float64)
    nontargets = np.diff(ranking.nontarget_below[of_nontargets]).astype(np.float64)
    present = targets + nontargets > 0
    targets, nontargets = targets[present] / targets.sum(), nontargets[present] / nontargets.sum()
    posterior = isotonic_regression(targets / (targets + nontargets), sample_weight=targets + nontargets)
    with np.errstate(divide="ignore"):  # infinite where a run has one class, and without cost then
        ratio = np.log(posterior) - np.log1p(-posterior)
    has_target, has_nontarget = targets > 0, nontargets > 0
    return (_mean(_bits(-ratio[has_target]), targets[has_target])
            + _mean(_bits(ratio[has_nontarget]), nontargets[has_nontarget])) / 2


def _bits(exponents: np.ndarray) -> np.ndarray:
    """log2(1 + e^x)."""
    bits: np.ndarray = np.logaddexp(0, exponents) / np.log(2)
    return bits


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.multiply(values, weights).sum() / weights.sum())  # a BLAS product would wait for its threads
