"""Metrics of scored trials: values, 95 % intervals over speakers, and differences between two systems.

rates.py           EER, minDCF, actDCF, miss rate at a false-accept rate
likelihood.py      Cllr and minCllr
bootstrap.py       95 % intervals, by drawing speakers
sides.py           speakers of the two sides of a trial, and groups of trials by tables of the data directory
identification.py  closed-set identification, top 1 and top 5
breakdown.py       errors by groups of trials
describe.py        all results of a score file, as compute_metrics.py --json prints them

In this file: all metrics of a list, and the comparison of two systems.

Scores (n,) float, higher means same speaker; labels (n,) bool, true: target; speakers (n, 2): of each trial's two
sides, numbered from 0. EERs, misses and identification in percent, Cllr in bits, costs normalised.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from deepspeaker.metrics import rates
from deepspeaker.metrics.bootstrap import enough_speakers, interval, resampled
from deepspeaker.metrics.likelihood import cllr, costs, min_cllr, runs
from deepspeaker.metrics.rates import Ranking, act_dcf, eer_kaldi, min_dcf, miss_at, rank

DCF_PRIORS = (0.05, 0.01, 0.001)  # of targets, with both costs 1
FALSE_ACCEPTS = (0.01, 0.001)  # rates at which the miss rate is given
Metrics = Mapping[str, Callable[[Ranking], float]]
Value = TypeVar("Value", float, np.ndarray)


def eer(scores: np.ndarray, labels: np.ndarray) -> float:
    """Equal error rate, 0..1, interpolated; raises UserError as rates.rank."""
    return rates.eer(rank(scores, labels))


def score_metrics() -> Metrics:
    """Name -> metric, of those that depend on the order of the scores alone."""
    return {"eer": lambda r: 100 * rates.eer(r), "eer_kaldi": lambda r: 100 * eer_kaldi(r),
            **{f"min_dcf_{prior}": partial(min_dcf, prior=prior) for prior in DCF_PRIORS},
            **{f"miss_at_fa_{rate}": partial(_miss_percent, false_accept=rate) for rate in FALSE_ACCEPTS}}


def _miss_percent(ranking: Ranking, false_accept: float) -> float:
    return 100 * miss_at(ranking, false_accept)


def llr_metrics(ranking: Ranking) -> Metrics:
    """Name -> metric, of those of natural-log likelihood ratios. They hold for this ranking, with any weights."""
    return {**{f"act_dcf_{prior}": partial(act_dcf, prior=prior) for prior in DCF_PRIORS},
            "cllr": partial(cllr, of_trials=costs(ranking)), "min_cllr": partial(min_cllr, ends=runs(ranking))}


def compute_metrics(scores: np.ndarray, labels: np.ndarray, llr: np.ndarray | None = None,
                    speakers: np.ndarray | None = None) -> dict[str, float | int | None]:
    """All metrics of a list; with `llr` (n,) those of likelihood ratios; with `speakers` each NAME's interval.

    NAME_low and NAME_high are None where too few speakers have target trials (bootstrap.MIN_SPEAKERS).
    """
    kinds = [(scores, lambda _: score_metrics())] + ([(llr, llr_metrics)] if llr is not None else [])
    found: dict[str, float | int | None] = {}
    for values, metrics_of in kinds:
        ranking = rank(values, labels)
        metrics = metrics_of(ranking)
        ends = intervals(values, labels, speakers, metrics) if speakers is not None else {}
        for name, metric in metrics.items():
            found[name] = metric(ranking)
            found |= dict(zip((f"{name}_low", f"{name}_high"), ends.get(name, ()), strict=False))
    return found | {"n_target": int(labels.sum()), "n_nontarget": int((~labels).sum())}


def intervals(scores: np.ndarray, labels: np.ndarray, speakers: np.ndarray,
              metrics: Metrics) -> dict[str, tuple[float, float] | tuple[None, None]]:
    """The interval of each metric; (None, None) where there are too few speakers."""
    if not enough_speakers(labels, speakers):
        return dict.fromkeys(metrics, (None, None))
    return {name: interval(values) for name, values in resampled(scores, labels, speakers, metrics).items()}


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
