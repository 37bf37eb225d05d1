"""Confidence intervals of metrics: the bootstrap over speakers.

Trials of one speaker are not independent of each other, but speakers are. So speakers are drawn with replacement, as
many as there are: a target trial of a speaker drawn c times weighs c, a nontarget trial the product of the counts of
its two speakers. An interval holds the middle 95 % of the metric's values over the draws. All draws follow from the
seed and the number of speakers, so two score files of one list see the same draws and can be compared draw by draw.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from deepspeaker.metrics.rates import Ranking, rank

RESAMPLES = 1000
SEED = 0
MIN_SPEAKERS = 5  # with target trials; the interval of fewer would be too narrow
COVERED = (2.5, 97.5)  # percentiles


class SortedSpeakers:
    """The speakers of a list's trials (n, 2), numbered from 0, in the order of its Ranking."""

    def __init__(self, scores: np.ndarray, labels: np.ndarray, speakers: np.ndarray):
        target, nontarget = speakers[labels], speakers[~labels]
        self.target = target[np.argsort(scores[labels]), 0]  # (T,)
        self.first, self.second = nontarget[np.argsort(scores[~labels])].T.copy()  # (N,) each

    def weighted(self, ranking: Ranking, counts: np.ndarray) -> Ranking | None:
        """The ranking where speaker s counts counts[s] times; None where targets or nontargets weigh nothing."""
        target, nontarget = counts[self.target].cumsum(), (counts[self.first] * counts[self.second]).cumsum()
        if target[-1] == 0 or nontarget[-1] == 0:
            return None
        return ranking._replace(target_below=np.append(0, target), nontarget_below=np.append(0, nontarget))


def draws(speakers: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each speaker is drawn (speakers,), `resamples` times."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(speakers, size=speakers), minlength=speakers)


def resampled(scores: np.ndarray, labels: np.ndarray, speakers: np.ndarray,
              metrics: Mapping[str, Callable[[Ranking], float]], resamples: int = RESAMPLES,
              seed: int = SEED) -> dict[str, np.ndarray]:
    """Each metric's values (resamples,) over the draws; nan where a draw has no targets or no nontargets.

    speakers (n, 2): of each trial's two sides, numbered from 0.
    """
    ranking, order = rank(scores, labels), SortedSpeakers(scores, labels, speakers)
    values = np.full((resamples, len(metrics)), np.nan)
    for row, counts in zip(values, draws(int(speakers.max()) + 1, resamples, seed), strict=True):
        if (drawn := order.weighted(ranking, counts)) is not None:
            row[:] = [metric(drawn) for metric in metrics.values()]
    return dict(zip(metrics, values.T, strict=True))


def enough_speakers(labels: np.ndarray, speakers: np.ndarray) -> bool:
    """Whether a list has enough speakers with target trials for an interval."""
    return len(np.unique(speakers[labels])) >= MIN_SPEAKERS


def interval(values: np.ndarray) -> tuple[float, float]:
    """The ends of the 95 % interval over the draws that have a value."""
    low, high = np.nanpercentile(values, COVERED)
    return float(low), float(high)
