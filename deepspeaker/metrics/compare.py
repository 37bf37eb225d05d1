"""Two systems' scores of the same trials: the difference of each metric, with its interval."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from deepspeaker.metrics.bootstrap import enough_speakers, interval, resampled
from deepspeaker.metrics.describe import llr_metrics, score_metrics
from deepspeaker.metrics.rates import rank

Value = TypeVar("Value", float, np.ndarray)


def compare(a: np.ndarray | Sequence[np.ndarray], b: np.ndarray | Sequence[np.ndarray], labels: np.ndarray,
            speakers: np.ndarray, llr: bool = False) -> dict[str, dict[str, float | None]]:
    """Metric -> its values `a` and `b` for two systems' scores of the same trials, and `difference` b - a.

    a, b: (n,), or (seeds, n) of several trainings of each, whose metrics' means over the seeds are then compared.
    `low` and `high`: the interval of the difference over draws of speakers that both systems share, None where there
    are too few. The difference of two systems varies less than either's value, as both meet the same hard speakers.
    llr: the scores are likelihood ratios; metrics of these are compared, too.
    """
    (values_a, drawn_a), (values_b, drawn_b) = (_mean_of_seeds(s, labels, speakers, llr) for s in (a, b))
    return {name: difference(values_a[name], values_b[name], drawn_a.get(name), drawn_b.get(name))
            for name in values_a}


def _mean_of_seeds(scores: np.ndarray | Sequence[np.ndarray], labels: np.ndarray, speakers: np.ndarray,
                   llr: bool) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The metrics of scores (n,) or (seeds, n), and their values over the draws; no draws with too few speakers."""
    values, drawn = [], []
    for each in np.atleast_2d(scores):
        ranking = rank(each, labels)
        metrics = {**score_metrics(), **(llr_metrics(ranking) if llr else {})}
        values.append({name: metric(ranking) for name, metric in metrics.items()})
        drawn.append(resampled(each, labels, speakers, metrics) if enough_speakers(labels, speakers) else {})
    return _means(values), _means(drawn)


def _means(seeds: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """Of each metric, the mean over the seeds."""
    return {name: sum((seed[name] for seed in seeds[1:]), start=first) / len(seeds)
            for name, first in seeds[0].items()}


def difference(a: float, b: float, drawn_a: np.ndarray | None, drawn_b: np.ndarray | None) -> dict[str, float | None]:
    """A row of compare(): two values, and their values (resamples,) over the same draws, None with too few speakers."""
    low, high = (None, None) if drawn_a is None else interval(drawn_b - drawn_a)
    return {"a": a, "b": b, "difference": b - a, "low": low, "high": high}
