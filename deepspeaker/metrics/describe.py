"""All metrics of a list of scored trials, with intervals; the results of a score file, with breakdowns."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from deepspeaker.errors import UserError
from deepspeaker.metrics import rates
from deepspeaker.metrics.bootstrap import enough_speakers, interval, resampled
from deepspeaker.metrics.breakdown import breakdown
from deepspeaker.metrics.identification import identification
from deepspeaker.metrics.likelihood import cllr, costs, min_cllr, runs
from deepspeaker.metrics.rates import Ranking, act_dcf, decision_rates, eer_kaldi, min_dcf, miss_at, rank
from deepspeaker.metrics.sides import grouping, identification_ranks, trial_sides
from deepspeaker.scoring.score_files import Scored, read_scored

DCF_PRIORS = (0.5, 0.05, 0.01, 0.001)  # of targets, with both costs 1
FALSE_ACCEPTS = (0.01, 0.001)  # rates at which the miss rate is given
Metrics = Mapping[str, Callable[[Ranking], float]]


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


def _decision_percent(ranking: Ranking, prior: float, which: int) -> float:
    return 100 * decision_rates(ranking, prior)[which]


def llr_metrics(ranking: Ranking, prior: float | None = None) -> Metrics:
    """Name -> metric, of those of natural-log likelihood ratios. They hold for this ranking, with any weights.

    prior: of targets where decisions are made, besides DCF_PRIORS.
    """
    priors = [*DCF_PRIORS, *([prior] if prior not in (None, *DCF_PRIORS) else [])]
    return {**{f"act_dcf_{p}": partial(act_dcf, prior=p) for p in priors},
            **{f"miss_at_prior_{p}": partial(_decision_percent, prior=p, which=0) for p in priors},
            **{f"false_accept_at_prior_{p}": partial(_decision_percent, prior=p, which=1) for p in priors},
            "cllr": partial(cllr, of_trials=costs(ranking)), "min_cllr": partial(min_cllr, ends=runs(ranking))}


def compute_metrics(scores: np.ndarray, labels: np.ndarray, llr: np.ndarray | None = None,
                    speakers: np.ndarray | None = None, prior: float | None = None) -> dict[str, float | int | None]:
    """All metrics of a list; with `llr` (n,) those of likelihood ratios; with `speakers` each NAME's interval.

    prior: as in llr_metrics.

    NAME_low and NAME_high are None where too few speakers have target trials (bootstrap.MIN_SPEAKERS).
    """
    kinds: list[tuple[np.ndarray, Callable[[Ranking], Metrics]]] = [(scores, lambda _: score_metrics())]
    kinds += ([(llr, partial(llr_metrics, prior=prior))] if llr is not None else [])
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


def read_alike(scores: str | os.PathLike[str], trials: str | os.PathLike[str], like: Scored) -> np.ndarray:
    """Another file's scores (n,) of the same trials; UserError where it has scores of others."""
    other = read_scored(scores, trials)
    if not np.array_equal(other.trials.pairs(), like.trials.pairs()):
        raise UserError(f"{scores}: has scores of {len(other.scores)} trials of {trials}, expected those of the same "
                        f"{len(like.scores)} trials as the first file: score both from embeddings of the same "
                        f"utterances")
    return other.scores


def describe(scores: str | os.PathLike[str], trials: str | os.PathLike[str], llr: str | os.PathLike[str] | None = None,
             utt2spk: str | os.PathLike[str] | None = None, enroll: str | os.PathLike[str] | None = None,
             breakdowns: Sequence[str] = (), prior: float | None = None) -> dict[str, object]:
    """The results that compute_metrics.py --json prints: those of compute_metrics and n_lost; with `utt2spk` also the
    number of speakers, identification, and under `breakdowns` the rows of each table."""
    scored = read_scored(scores, trials)
    labels = scored.trials.targets
    ratios = read_alike(llr, trials, scored) if llr else None
    if not utt2spk:
        return {**compute_metrics(scored.scores, labels, ratios, prior=prior), "n_lost": scored.lost}
    sides = trial_sides(scored.trials, utt2spk, enroll)
    found: dict[str, object] = {**compute_metrics(scored.scores, labels, ratios, sides.speakers, prior)}
    found |= {"n_lost": scored.lost, "n_speakers": len(sides.names)}
    found |= identification(*identification_ranks(scored.scores, scored.trials, sides),
                            enough_speakers(labels, sides.speakers))
    groupings = [grouping(option, scored.trials, sides) for option in breakdowns]
    if groupings:
        found["breakdowns"] = {g.name: breakdown(g, scored.scores, labels, sides.speakers) for g in groupings}
    return found
