"""Calibration: scores -> log-likelihood ratios (natural logarithm).

A calibration is an affine function of the score and, optionally, of qualities. It is fitted by logistic regression in
which all targets together weigh `prior` and all nontargets 1 - prior (Brummer & du Preez, Application-independent
evaluation of speaker detection, Computer Speech and Language 2006).
"""

import json
import math
import os
from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np

from deepspeaker.atomic import atomic
from deepspeaker.errors import UserError

PRIOR = 0.01  # of targets, default of the step
RIDGE = 1e-6  # L2 penalty on standardised weights: keeps them finite where scores separate the labels


class Calibration(NamedTuple):
    """llr = offset + weights["score"] * score, plus weights[QUALITY] * value for each quality."""

    prior: float  # target prior at which it was optimised
    offset: float
    weights: dict[str, float]


def fit(columns: Mapping[str, np.ndarray], labels: np.ndarray, prior: float) -> Calibration:
    """Fit to trials with labels (n,) bool; `columns`: `score` and qualities, each (n,) float.

    Raises UserError without targets or nontargets, and for values that are not finite.
    """
    from sklearn.linear_model import LogisticRegression

    if not 0 < prior < 1:
        raise UserError(f"the calibration prior must lie between 0 and 1, found {prior}")
    if labels.all() or not labels.any():
        raise UserError(f"calibration needs target and nontarget trials; found {labels.sum()} and {(~labels).sum()}")
    x = np.stack([*columns.values()], axis=1)
    if not np.isfinite(x).all():
        raise UserError(f"calibration: {(~np.isfinite(x)).any(1).sum()} trials have scores or qualities that are not "
                        f"finite numbers")
    weights = np.where(labels, prior / labels.sum(), (1 - prior) / (~labels).sum())
    mean, deviation = x.mean(0), x.std(0)
    deviation[deviation == 0] = 1  # a constant has no information: its weight becomes 0
    regression = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", tol=1e-8)
    regression.fit((x - mean) / deviation, labels, weights)
    slopes = regression.coef_[0] / deviation
    offset = float(regression.intercept_[0] - slopes @ mean) - logit(prior)
    return Calibration(prior, offset, dict(zip(columns, slopes.tolist(), strict=True)))


def apply(calibration: Calibration, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Log-likelihood ratios (n,) of `score` and qualities, (n,) each. UserError for other columns than were fitted."""
    if columns.keys() != calibration.weights.keys():
        raise UserError(f"the calibration was fitted to {', '.join(calibration.weights)}; found {', '.join(columns)}")
    weighted: np.ndarray = reduce(np.add, (weight * columns[name] for name, weight in calibration.weights.items()))
    return calibration.offset + weighted


def logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Write as JSON."""
    with atomic(path) as file:
        json.dump(calibration._asdict(), file, indent=1)
        file.write("\n")


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Raises UserError for a file that is missing or not what write_calibration writes."""
    try:
        with open(path, encoding="utf-8") as file:
            return Calibration(**json.load(file))
    except FileNotFoundError:
        raise UserError(f"no such file {path}: fit it first (steps/train_calibration.py)") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not a calibration: {error}") from None
