"""Scoring back-ends by name. Each takes the embeddings of trials' two sides, (n, E) and (n, E), returns scores (n,)."""

from collections.abc import Mapping, Sequence

import numpy as np

from deepspeaker.command import UserError
from deepspeaker.scoring.cosine import cosine
from deepspeaker.trials import Trial

BACKENDS = {"cosine": cosine}
BLOCK = 1 << 16  # trials scored together: bounds the memory


def score_trials(trials: Sequence[Trial], first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray],
                 backend: str) -> np.ndarray:
    """Scores (n,) of trials; `first` and `second` map the two sides' ids to embeddings (E,) of length one."""
    if backend not in BACKENDS:
        raise UserError(f"no back-end {backend!r}; there are: {', '.join(BACKENDS)}")
    blocks = [trials[start:start + BLOCK] for start in range(0, len(trials), BLOCK)]
    return np.concatenate([BACKENDS[backend](np.stack([first[t.first] for t in block]),
                                             np.stack([second[t.second] for t in block])) for block in blocks])


def enrolled(enroll: Mapping[str, Sequence[str]], embeddings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Model id -> mean of its utterances' embeddings, brought to length one.

    A model none of whose utterances has an embedding is left out.
    """
    models = {}
    for model, utterances in enroll.items():
        if found := [embeddings[utterance] for utterance in utterances if utterance in embeddings]:
            mean = np.mean(found, axis=0)
            models[model] = mean / max(np.linalg.norm(mean), np.finfo(np.float32).tiny)
    return models


def split_lost(trials: Sequence[Trial], first: Mapping[str, object], second: Mapping[str, object],
               known_first: set[str], known_second: set[str]) -> tuple[list[Trial], int]:
    """(trials whose two sides have embeddings, number of the others).

    An id without an embedding is lost when it is known (stage 2 could not read it); UserError lists up to five ids
    that are not known at all, and says so when no trial is left.
    """
    refuse_unknown("trials name", {t.first for t in trials} - known_first - first.keys()
                   | {t.second for t in trials} - known_second - second.keys())
    kept = [t for t in trials if t.first in first and t.second in second]
    if not kept:
        raise UserError(f"none of the {len(trials)} trials has embeddings of both sides: look at bad_utts (stage 2)")
    return kept, len(trials) - len(kept)


def refuse_unknown(who: str, unknown: set[str]) -> None:
    """UserError listing up to five ids, if there are any."""
    if unknown:
        examples = ", ".join(sorted(unknown)[:5])
        raise UserError(f"{who} {len(unknown)} ids that the data directory does not have: {examples}")
