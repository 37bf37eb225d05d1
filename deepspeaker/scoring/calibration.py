"""Calibration: scores -> log-likelihood ratios (natural logarithm).

A calibration is an affine function of the score and, optionally, of qualities, each of which may also scale what the
score says. It is fitted by logistic regression in which all targets together weigh `prior` and all nontargets 1 - prior
(Brummer & du Preez, Application-independent evaluation of speaker detection, Computer Speech and Language 2006). Its
values stay within the bounds that the data support (bounds.py).
"""

import json
import math
import os
import warnings
from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np

from deepspeaker.atomic import atomic
from deepspeaker.errors import UserError

PRIOR = 0.01  # of targets, default of the step
RIDGE = 1e-6  # L2 penalty on standardised weights: keeps them finite where scores separate the labels
SCORE = "score"
PRODUCT = f"{SCORE}*"  # weights of a quality times the score are named so
SEEN = (2.5, 97.5)  # percentiles of a quality in the data; values outside count as these
UNBOUNDED = (-math.inf, math.inf)


class Calibration(NamedTuple):
    """llr = offset + weights["score"] * score, plus, for each quality, weights[QUALITY] * value +
    weights["score*QUALITY"] * score * value."""

    prior: float  # target prior at which it was optimised
    offset: float
    weights: dict[str, float]
    ranges: dict[str, tuple[float, float]] = {}  # of each quality: values outside count as the nearest end
    bounds: tuple[float, float] = UNBOUNDED  # llrs outside become the nearest end; older files have none
    speakers: int = 0  # from whose trials it was learnt; 0: not known
    cllr: float | None = None  # bits, of trials of speakers held out, mean over conditions; None: too few speakers

    @property
    def qualities(self) -> list[str]:
        """The qualities that it uses."""
        return list(dict.fromkeys(quality_of(name) for name in self.columns if name != SCORE))

    @property
    def columns(self) -> list[str]:
        """What it is a function of: `score` and qualities."""
        return [name for name in self.weights if not name.startswith(PRODUCT)]


def fit(columns: Mapping[str, np.ndarray], labels: np.ndarray, prior: float,
        trial_weights: np.ndarray | None = None) -> Calibration:
    """Fit to trials with labels (n,) bool; `columns`: `score` and qualities, each (n,) float. Without bounds.

    trial_weights (n,): how much each trial counts among the targets or among the nontargets (None: all the same).
    Raises UserError without targets or nontargets, and for values that are not finite.
    """
    from sklearn.linear_model import LogisticRegression

    if not 0 < prior < 1:
        raise UserError(f"the calibration prior must lie between 0 and 1, found {prior}")
    if labels.all() or not labels.any():
        raise UserError(f"calibration needs target and nontarget trials; found {labels.sum()} and {(~labels).sum()}")
    if not (finite := np.isfinite(np.stack([*columns.values()], axis=1)).all(1)).all():
        raise UserError(f"calibration: {(~finite).sum()} trials have scores or qualities that are not finite numbers")
    if np.ptp(columns[SCORE]) == 0:
        raise UserError(f"calibration: all {len(labels)} trials have the score {columns[SCORE][0]:g}: nothing can be "
                        "learnt from it; are the embeddings all the same?")
    trial_weights = np.ones(len(labels)) if trial_weights is None else trial_weights
    share = np.where(labels, trial_weights / trial_weights[labels].sum(), trial_weights / trial_weights[~labels].sum())
    ranges = {name: _seen(values) for name, values in columns.items() if name != SCORE}
    terms = _terms(columns, ranges)
    x = np.stack([*terms.values()], axis=1)
    mean, deviation = x.mean(0), x.std(0)
    deviation[deviation == 0] = 1  # a constant has no information: its weight becomes 0
    regression = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", tol=1e-8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Line search|The inner solver")  # it goes on with another one
        regression.fit((x - mean) / deviation, labels, np.where(labels, prior, 1 - prior) * share)
    slopes = regression.coef_[0] / deviation
    offset = float(regression.intercept_[0] - slopes @ mean) - logit(prior)
    return Calibration(prior, offset, dict(zip(terms, slopes.tolist(), strict=True)), ranges)


def apply(calibration: Calibration, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Log-likelihood ratios (n,) of `score` and qualities, (n,) each. UserError where one is missing."""
    if missing := [name for name in calibration.columns if name not in columns]:
        raise UserError(f"the calibration was fitted to {', '.join(calibration.columns)}; found {', '.join(columns)}, "
                        f"without {missing[0]}")
    used = {name: columns[name].astype(np.float64) for name in calibration.columns}
    terms = _terms(used, calibration.ranges)
    weighted: np.ndarray = reduce(np.add, (weight * terms[name] for name, weight in calibration.weights.items()))
    return np.clip(calibration.offset + weighted, *calibration.bounds)


def quality_of(column: str) -> str:
    """The quality that a column belongs to: its smaller or its larger value of a trial's two sides."""
    return column.removesuffix("_smaller").removesuffix("_larger")


def logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def _seen(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, SEEN)
    return float(low), float(high)


def _terms(columns: Mapping[str, np.ndarray], ranges: Mapping[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    """The terms (n,) of the sum: the score, each quality within its range, and their products with the score.

    A quality without a range, as calibrations of earlier versions have them, has no product.
    """
    clipped = {name: np.clip(columns[name], *ends) for name, ends in ranges.items()}
    return {**columns, **clipped, **{f"{PRODUCT}{name}": columns[SCORE] * values for name, values in clipped.items()}}


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Write as JSON."""
    with atomic(path) as file:
        json.dump(calibration._asdict(), file, indent=1)
        file.write("\n")


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Raises UserError for a file that is missing or not what write_calibration writes."""
    try:
        with open(path, encoding="utf-8") as file:
            return calibration_of(**json.load(file))
    except FileNotFoundError:
        raise UserError(f"no such file {path}: fit it first (steps/train_calibration.py)") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a calibration: {error}") from None


def calibration_of(prior: float, offset: float, weights: Mapping[str, float],
                   ranges: Mapping[str, tuple[float, float]] = {}, bounds: tuple[float, float] = UNBOUNDED,
                   speakers: int = 0, cllr: float | None = None) -> Calibration:
    """The calibration stored in a file. ValueError, TypeError or AttributeError unless it is made of numbers, finite
    except for the bounds."""
    found = Calibration(float(prior), float(offset), {name: float(value) for name, value in weights.items()},
                        {name: (float(low), float(high)) for name, (low, high) in ranges.items()},
                        (float(bounds[0]), float(bounds[1])), int(speakers), None if cllr is None else float(cllr))
    numbers = [found.prior, found.offset, *found.weights.values(), *sum(found.ranges.values(), ())]
    if not all(map(math.isfinite, numbers)) or not found.bounds[0] <= found.bounds[1]:
        raise ValueError(f"{found} has numbers that are not finite, or bounds that do not rise")
    return found
