"""The decision threshold: from which log-likelihood ratio, or which score, a trial is accepted."""

import math

from deepspeaker.errors import UserError
from deepspeaker.scoring.calibration import Calibration, logit


def threshold(prior: float, cost_miss: float = 1.0, cost_false_accept: float = 1.0) -> float:
    """The decision threshold: the log-likelihood ratio above which accepting has the lower expected cost.

    prior: of targets where the system is used.
    """
    return math.log(cost_false_accept) - math.log(cost_miss) - logit(prior)


def supported(bounds: tuple[float, float], limit: float) -> bool:
    """Whether log-likelihood ratios within these bounds lie on both sides of a threshold; else all are decided alike.
    """
    low, high = bounds
    return low < limit <= high


def score_threshold(calibration: Calibration, prior: float, cost_miss: float = 1.0,
                    cost_false_accept: float = 1.0) -> float:
    """The decision threshold on scores before calibration.

    UserError where there is none: with qualities, where the llr does not rise with the score, or beyond its bounds.
    """
    limit, (low, high) = threshold(prior, cost_miss, cost_false_accept), calibration.bounds
    if not supported(calibration.bounds, limit):
        raise UserError(f"the development set cannot support a decision at prior {prior:g}: log-likelihood ratios lie "
                        f"between {low:.2f} and {high:.2f}, the threshold is {limit:.2f}")
    slope = calibration.weights["score"]
    if len(calibration.weights) > 1 or slope <= 0:
        terms = " + ".join(f"{weight:g} {name}" for name, weight in calibration.weights.items())
        raise UserError(f"no threshold on scores corresponds to one on log-likelihood ratios: llr = "
                        f"{calibration.offset:g} + {terms}")
    return (limit - calibration.offset) / slope
