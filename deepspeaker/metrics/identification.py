"""Closed-set identification from scored trials: how often a probe's own speaker has one of the highest scores."""

import numpy as np

from deepspeaker.metrics.bootstrap import RESAMPLES, SEED, draws, interval

TOPS = (1, 5)


def ranks(scores: np.ndarray, probes: np.ndarray, own: np.ndarray,
          candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rank of the own speaker, from 1; own speaker) of each probe that can miss the top 5.

    Trials (n,): probe, the probe's own speaker and the speaker it is compared with, all numbered from 0. A speaker's
    score is the best of its trials; a speaker who ties with the own one is placed before it. Probes that are not
    compared with their own and at least five other speakers are left out.
    """
    width = int(candidates.max()) + 1
    pairs = probes.astype(np.int64) * width + candidates
    order = np.argsort(pairs, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(pairs[order]) != 0))
    best = np.maximum.reduceat(scores[order], starts)
    first = order[starts]  # one trial of each probe and candidate
    probe, right = probes[first], own[first] == candidates[first]
    own_best = np.full(int(probes.max()) + 1, np.nan)
    own_best[probe[right]] = best[right]
    rank = np.bincount(probe, best >= own_best[probe], len(own_best)).astype(int)
    usable = np.flatnonzero((np.bincount(probe, minlength=len(own_best)) > max(TOPS)) & ~np.isnan(own_best))
    speaker = np.zeros(len(own_best), int)
    speaker[probes] = own
    return rank[usable], speaker[usable]


def identification(rank: np.ndarray, speakers: np.ndarray, with_intervals: bool) -> dict[str, float | int | None]:
    """top_1 and top_5 in percent, with their intervals over the probes' speakers, and the number of probes."""
    if not len(rank):
        return {"n_probes": 0}
    found: dict[str, float | int | None] = {"n_probes": len(rank)}
    for top in TOPS:
        found[f"top_{top}"] = 100 * float(np.mean(rank <= top))
    if with_intervals:
        weights = np.array([counts[speakers] for counts in draws(int(speakers.max()) + 1, RESAMPLES, SEED)])
        with np.errstate(invalid="ignore"):
            for top in TOPS:
                values = 100 * (weights @ (rank <= top)) / weights.sum(1)
                found[f"top_{top}_low"], found[f"top_{top}_high"] = interval(values)
    return found
