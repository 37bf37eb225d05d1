"""The results of one score file: metrics, intervals, identification, breakdowns."""

import os
from collections.abc import Sequence

import numpy as np

from deepspeaker.errors import UserError
from deepspeaker.metrics import compute_metrics
from deepspeaker.metrics.bootstrap import enough_speakers
from deepspeaker.metrics.breakdown import breakdown
from deepspeaker.metrics.identification import identification
from deepspeaker.metrics.sides import grouping, identification_ranks, trial_sides
from deepspeaker.scoring.score_files import Scored, read_scored


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
             breakdowns: Sequence[str] = ()) -> dict[str, object]:
    """The results that compute_metrics.py --json prints: those of compute_metrics and n_lost; with `utt2spk` also the
    number of speakers, identification, and under `breakdowns` the rows of each table."""
    scored = read_scored(scores, trials)
    labels = scored.trials.targets
    ratios = read_alike(llr, trials, scored) if llr else None
    if not utt2spk:
        return {**compute_metrics(scored.scores, labels, ratios), "n_lost": scored.lost}
    sides = trial_sides(scored.trials, utt2spk, enroll)
    found: dict[str, object] = {**compute_metrics(scored.scores, labels, ratios, sides.speakers)}
    found |= {"n_lost": scored.lost, "n_speakers": len(sides.names)}
    found |= identification(*identification_ranks(scored.scores, scored.trials, sides),
                            enough_speakers(labels, sides.speakers))
    groupings = [grouping(option, scored.trials, sides) for option in breakdowns]
    if groupings:
        found["breakdowns"] = {g.name: breakdown(g, scored.scores, labels, sides.speakers) for g in groupings}
    return found
