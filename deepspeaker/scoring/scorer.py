"""Scores as inner products, in blocks that bound the memory: of listed pairs, and the best of all pairs."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from deepspeaker.errors import UserError

VALUES_AT_ONCE = 1 << 18  # gathered of each side of listed pairs: they stay in the processor's cache
SCORES_AT_ONCE = 1 << 22  # held where all pairs are scored: bounds the memory


def product(dots: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The inner product is the score."""
    return dots


class Scorer(NamedTuple):
    """A back-end's scores of M models with U utterances: score(i, j) = finish(first[i] . second[j], i, j).

    finish: works element by element on arrays that broadcast.
    """

    first: np.ndarray  # (M, D)
    second: np.ndarray  # (U, D)
    finish: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = product


def score_pairs(scorer: Scorer, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Scores (n,) of models i (n,) with utterances j (n,)."""
    size = max(1, VALUES_AT_ONCE // scorer.first.shape[1])
    left, right = (np.empty((size, side.shape[1]), side.dtype) for side in scorer[:2])
    dots = np.empty(len(i), np.result_type(left, right))
    for start in range(0, len(i), size):
        block = slice(start, min(start + size, len(i)))
        n = block.stop - start
        np.take(scorer.first, i[block], 0, out=left[:n], mode="clip")  # clip: take then writes straight into `out`
        np.take(scorer.second, j[block], 0, out=right[:n], mode="clip")
        np.einsum("nd,nd->n", left[:n], right[:n], out=dots[block])
    return scorer.finish(dots, i, j)


def best_models(scorer: Scorer, j: np.ndarray, top: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The `top` best models of each utterance j (n,), best first: blocks of (j (b,), models (b, top), scores)."""
    models = len(scorer.first)
    if top > models:
        raise UserError(f"the best {top} of {models} models: there are fewer")
    size = max(1, SCORES_AT_ONCE // models)
    for start in range(0, len(j), size):
        block = j[start:start + size]
        scores = scorer.finish(scorer.second[block] @ scorer.first.T, np.arange(models), block[:, None])
        found = np.argpartition(scores, models - top, axis=1)[:, models - top:]
        values = np.take_along_axis(scores, found, 1)
        order = np.argsort(-values, axis=1, kind="stable")
        yield block, np.take_along_axis(found, order, 1), np.take_along_axis(values, order, 1)
