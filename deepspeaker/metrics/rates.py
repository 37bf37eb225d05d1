"""Error rates of scored trials, as functions of a Ranking. A trial is accepted when its score exceeds the threshold;
trials of equal score are accepted or rejected together.

Degenerate lists: a list without targets, without nontargets or with scores that are not finite has no Ranking
(UserError). Where all scores are equal, eer is 0.5, normalised costs are 1, and eer_kaldi, by whose definition ties
are errors, is 1 - 1/T.
"""

from bisect import bisect_left
from typing import Literal, NamedTuple

import numpy as np

from deepspeaker.errors import UserError
from deepspeaker.scoring.decisions import threshold

THRESHOLDS_AT_ONCE = 1 << 20  # bounds the memory


class Ranking(NamedTuple):
    """The scores of each class in ascending order, and the weight of the first i of them (without weights: i)."""

    target: np.ndarray  # (T,)
    nontarget: np.ndarray  # (N,)
    target_below: np.ndarray  # (T + 1,)
    nontarget_below: np.ndarray  # (N + 1,)


def rank(scores: np.ndarray, labels: np.ndarray) -> Ranking:
    """scores (n,) float, higher means same speaker; labels (n,) bool, true: target.

    Sorting the two classes apart is several times as fast as ordering all trials by an index.
    """
    check(scores, labels)
    target, nontarget = scores[labels], scores[~labels]
    target.sort()
    nontarget.sort()
    return Ranking(target, nontarget, np.arange(len(target) + 1), np.arange(len(nontarget) + 1))


def check(scores: np.ndarray, labels: np.ndarray) -> None:
    """Raise UserError without targets or nontargets, and for scores that are not finite."""
    if labels.dtype != bool:
        raise TypeError(f"labels are expected to be bool, found {labels.dtype}")
    targets = np.count_nonzero(labels)
    if targets in (0, len(labels)):
        raise UserError(f"error rates need target and nontarget trials; found {targets} target and "
                        f"{len(labels) - targets} nontarget trials with a score")
    if not (finite := np.isfinite(scores)).all():
        raise UserError(f"{np.count_nonzero(~finite)} scores are not finite numbers")


def error_rates(ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """(miss, false accept) rates at every distinct score, from accepting every trial to rejecting every one."""
    miss, false_accept = rates_at(ranking, np.unique(np.concatenate([ranking.target, ranking.nontarget])))
    return np.append(0.0, miss), np.append(1.0, false_accept)


def rates_at(ranking: Ranking, at: np.ndarray | float,
             side: Literal["left", "right"] = "right") -> tuple[np.ndarray, np.ndarray]:
    """(miss, false accept) rates where scores above `at` are accepted (`side` "left": also those equal to it)."""
    missed = ranking.target_below[np.searchsorted(ranking.target, at, side)]
    rejected = ranking.nontarget_below[np.searchsorted(ranking.nontarget, at, side)]
    total = ranking.nontarget_below[-1]
    return missed / ranking.target_below[-1], (total - rejected) / total


def eer_threshold(ranking: Ranking) -> float:
    """The lowest score at which misses are no longer rarer than false accepts."""

    def crossed(score: float) -> bool:
        miss, false_accept = rates_at(ranking, score)
        return bool(miss >= false_accept)

    lowest: float = min(scores[place] for scores in (ranking.target, ranking.nontarget)
                        if (place := bisect_left(scores, True, key=crossed)) < len(scores))
    return lowest


def eer(ranking: Ranking) -> float:
    """Equal error rate, 0..1: where the line through the points of error_rates has miss = false accept."""
    crossing = eer_threshold(ranking)
    miss_before, false_accept_before = rates_at(ranking, crossing, "left")
    miss, false_accept = rates_at(ranking, crossing)
    gap = false_accept_before - miss_before
    fraction = gap / (gap + miss - false_accept)
    return float(miss_before + fraction * (miss - miss_before))


def eer_kaldi(ranking: Ranking) -> float:
    """Equal error rate, 0..1, by the definition of Kaldi's compute-eer: no interpolation.

    The least i/T such that, of T targets and N nontargets, i targets score lower than all but N i/T nontargets let in.
    A trial of weight w counts as w trials.
    """
    targets, nontargets = int(ranking.target_below[-1]), int(ranking.nontarget_below[-1])

    def score(scores: np.ndarray, below: np.ndarray, place: int) -> float:
        found: float = scores[np.searchsorted(below, place, "right") - 1]
        return found

    def stops(i: int) -> bool:
        facing = max(0, nontargets - 1 - int(nontargets * i / targets))
        return bool(score(ranking.nontarget, ranking.nontarget_below, facing)
                    < score(ranking.target, ranking.target_below, i))

    return bisect_left(range(targets - 1), True, key=stops) / targets


def min_dcf(ranking: Ranking, prior: float, cost_miss: float = 1.0, cost_false_accept: float = 1.0) -> float:
    """The least detection cost over all thresholds, 1 being the better of accepting and rejecting everything."""
    weight_miss, weight_false_accept = cost_miss * prior, cost_false_accept * (1 - prior)
    trivial = least = min(weight_miss, weight_false_accept)
    first = _rejections(ranking, trivial / weight_false_accept)  # with fewer, false accepts alone cost more
    for start in range(max(0, first - 1), len(ranking.nontarget), THRESHOLDS_AT_ONCE):
        miss, false_accept = rates_at(ranking, ranking.nontarget[start:start + THRESHOLDS_AT_ONCE])
        least = min(least, (weight_miss * miss + weight_false_accept * false_accept).min())
    return float(least / trivial)


def decision_rates(ranking: Ranking, prior: float, cost_miss: float = 1.0,
                   cost_false_accept: float = 1.0) -> tuple[float, float]:
    """(miss, false accept) rates, 0..1, of natural-log likelihood ratios at the Bayes threshold."""
    miss, false_accept = rates_at(ranking, threshold(prior, cost_miss, cost_false_accept), "left")
    return float(miss), float(false_accept)


def act_dcf(ranking: Ranking, prior: float, cost_miss: float = 1.0, cost_false_accept: float = 1.0) -> float:
    """The detection cost of natural-log likelihood ratios at the Bayes threshold, normalised as min_dcf."""
    weight_miss, weight_false_accept = cost_miss * prior, cost_false_accept * (1 - prior)
    miss, false_accept = decision_rates(ranking, prior, cost_miss, cost_false_accept)
    return float((weight_miss * miss + weight_false_accept * false_accept) / min(weight_miss, weight_false_accept))


def miss_at(ranking: Ranking, false_accept: float) -> float:
    """Miss rate, 0..1, at the lowest threshold whose false-accept rate does not exceed `false_accept`."""
    rejected = _rejections(ranking, false_accept)
    return float(rates_at(ranking, ranking.nontarget[rejected - 1])[0]) if rejected else 0.0


def _rejections(ranking: Ranking, false_accept: float) -> int:
    """Number of nontargets that must be rejected for a false-accept rate of at most `false_accept`."""
    below = ranking.nontarget_below
    return bisect_left(range(len(below)), True, key=lambda i: (below[-1] - below[i]) / below[-1] <= false_accept)
