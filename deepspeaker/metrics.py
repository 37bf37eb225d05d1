"""Error rates of scored trials. Scores (n,) float, higher means same speaker; labels (n,) bool, true: target."""

import numpy as np

from deepspeaker.command import UserError

MIN_DCF_PRIORS = (0.01, 0.001)


def error_rates(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(miss, false accept) rates at every threshold, from accepting every trial to rejecting every one.

    Trials of equal score are accepted or rejected together. Raises UserError without targets or nontargets, and for
    scores that are not finite.
    """
    _check(scores, labels)
    order = np.argsort(scores, kind="stable")
    ranked, targets = scores[order], labels[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # the last trial of each run of equal scores
    rejected_targets = np.cumsum(targets)[last]
    rejected = np.flatnonzero(last) + 1
    miss = np.append(0.0, rejected_targets / targets.sum())
    false_accept = np.append(1.0, 1.0 - (rejected - rejected_targets) / (~targets).sum())
    return miss, false_accept


def eer(scores: np.ndarray, labels: np.ndarray) -> float:
    """Equal error rate, 0..1: where the line through the points of error_rates has miss = false accept."""
    miss, false_accept = error_rates(scores, labels)
    after = int(np.argmax(miss >= false_accept))
    before = after - 1
    gap = false_accept[before] - miss[before]
    share = gap / (gap + miss[after] - false_accept[after])
    return float(miss[before] + share * (miss[after] - miss[before]))


def eer_kaldi(scores: np.ndarray, labels: np.ndarray) -> float:
    """Equal error rate, 0..1, by the definition of Kaldi's compute-eer: no interpolation."""
    _check(scores, labels)
    target, nontarget = np.sort(scores[labels]), np.sort(scores[~labels])
    i = np.arange(len(target))
    facing = np.maximum(0, len(nontarget) - 1 - (len(nontarget) * i / len(target)).astype(int))
    stops = nontarget[facing] < target
    stops[-1] = True
    return float(np.argmax(stops) / len(target))


def min_dcf(scores: np.ndarray, labels: np.ndarray, prior: float, cost_miss: float = 1.0,
            cost_false_accept: float = 1.0) -> float:
    """The least detection cost over all thresholds, 1 being the better of accepting and rejecting everything."""
    miss, false_accept = error_rates(scores, labels)
    cost = cost_miss * prior * miss + cost_false_accept * (1 - prior) * false_accept
    return float(cost.min() / min(cost_miss * prior, cost_false_accept * (1 - prior)))


def compute_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | int]:
    """All figures of a list of scored trials; EERs in percent."""
    found: dict[str, float | int] = {"eer": 100 * eer(scores, labels), "eer_kaldi": 100 * eer_kaldi(scores, labels)}
    found |= {f"min_dcf_{prior}": min_dcf(scores, labels, prior) for prior in MIN_DCF_PRIORS}
    return found | {"n_target": int(labels.sum()), "n_nontarget": int((~labels).sum())}


def _check(scores: np.ndarray, labels: np.ndarray) -> None:
    if labels.dtype != bool:
        raise TypeError(f"labels are expected to be bool, found {labels.dtype}")
    if labels.all() or not labels.any():
        raise UserError(f"error rates need target and nontarget trials; found {int(labels.sum())} target and "
                        f"{int((~labels).sum())} nontarget trials with a score")
    if not np.isfinite(scores).all():
        raise UserError(f"{int((~np.isfinite(scores)).sum())} scores are not finite numbers")
