"""How far log-likelihood ratios are supported by the data that calibrated them: empirical lower and upper bounds.

Vergeer, van Es, de Jongh, Alberink, Stoel: Numerical likelihood ratios outputted by LR systems are often based on
extrapolation: when to stop extrapolating? Science & Justice 56 (2016). A ratio is supported as long as decisions at it
cost less than decisions without the system, even if one more trial misled. Trials of one voice are not independent, so
it is not trials that are counted: a false accept is the fault of two voices, and one misleading trial weighs as one
more pair of speakers; a miss is the fault of two recordings, and weighs as one more pair of recordings.
"""

import numpy as np

STEP = 0.01  # of the log-likelihood ratios that are tried


def empirical_bounds(llr: np.ndarray, labels: np.ndarray, weights: np.ndarray, targets: float,
                     nontargets: float) -> tuple[float, float]:
    """The lowest and the highest natural-log likelihood ratio that trials (n,) with weights (n,) support.

    targets, nontargets: how many independent trials there are of each kind, at least 1. Even where all trials are on
    the right side the bounds lie within -log(targets + 1) and log(nontargets + 1).
    """
    at = np.arange(np.floor(-np.log(targets + 1) / STEP), np.ceil(np.log(nontargets + 1) / STEP) + 1) * STEP
    at[np.abs(at) < STEP / 2] = 0.0
    missed = _share_up_to(llr[labels], weights[labels], at)
    accepted = 1 - _share_up_to(llr[~labels], weights[~labels], at)
    cost = (targets * missed + 1) / (targets + 1) + np.exp(at) * (nontargets * accepted + 1) / (nontargets + 1)
    worse = cost > np.minimum(1, np.exp(at))
    low = at[(at <= 0) & worse].max(initial=at[0] - STEP) + STEP
    high = at[(at >= 0) & worse].min(initial=at[-1] + STEP) - STEP
    return min(float(low), 0.0), max(float(high), 0.0)


def _share_up_to(llr: np.ndarray, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """For each of the values `at` the share of the weights of trials up to it."""
    order = np.argsort(llr)
    below = np.append(0.0, weights[order].cumsum())
    share: np.ndarray = below[np.searchsorted(llr[order], at, "right")] / below[-1]
    return share
