"""Score files: lines `id1 id2 score`, beside the trial list they belong to."""

import os

import numpy as np

from deepspeaker.command import UserError
from deepspeaker.datadir import lines, words
from deepspeaker.trials import read_trials


def read_scores(path: str | os.PathLike) -> dict[tuple[str, str], float]:
    """(id1, id2) -> score. Raises UserError for a malformed line and for a pair that comes twice."""
    scores = {}
    for number, line in lines(path):
        fields = words(line)
        try:
            pair, score = (fields[0], fields[1]), float(fields[2])
        except (IndexError, ValueError):
            raise UserError(f"{path}:{number}: expected 'id1 id2 score', found {line!r}") from None
        if scores.setdefault(pair, score) != score:
            raise UserError(f"{path}:{number}: a second, different score of {pair[0]} {pair[1]}")
    return scores


def labelled_scores(scores: str | os.PathLike, trials: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, int]:
    """(scores (n,) float64, labels (n,) bool, number of trials without a score), in the trials' order.

    Raises UserError for scores of pairs that are not in the trial list.
    """
    found, listed = read_scores(scores), read_trials(trials)
    if stray := found.keys() - {(t.first, t.second) for t in listed}:
        examples = ", ".join(" ".join(pair) for pair in sorted(stray)[:5])
        raise UserError(f"{scores}: {len(stray)} scored pairs are not trials of {trials}: {examples}")
    scored = [t for t in listed if (t.first, t.second) in found]
    values = np.array([found[t.first, t.second] for t in scored], dtype=np.float64)
    return values, np.array([t.target for t in scored], dtype=bool), len(listed) - len(scored)
