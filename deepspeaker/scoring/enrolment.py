"""Speaker models, each enrolled with one or several utterances, whose vectors are averaged."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np


class Models(NamedTuple):
    """M speaker models: which rows of an array of embeddings each is made of."""

    rows: np.ndarray  # (R,) the first model's rows, then the second's, ...
    counts: np.ndarray  # (M,) how many rows each has, at least 1

    @property
    def single(self) -> bool:
        """Whether every model is one utterance."""
        return len(self.rows) == len(self.counts)


def models_of(utterances: Iterable[Iterable[str]], position: Mapping[str, int]) -> Models:
    """Models of these utterances, one list for each model; position: utterance -> row."""
    rows = [[position[utterance] for utterance in several] for several in utterances]
    return Models(np.array([row for several in rows for row in several], np.int64), np.array([len(r) for r in rows]))


def averaged(vectors: np.ndarray, models: Models) -> np.ndarray:
    """(U, E) -> means (M, E) over each model's rows."""
    taken: np.ndarray = vectors[models.rows]
    if models.single:
        return taken
    starts = np.cumsum(models.counts) - models.counts
    means: np.ndarray = np.add.reduceat(taken, starts) / models.counts[:, None].astype(vectors.dtype)
    return means


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, E) -> the same vectors scaled to unit length; a zero vector stays zero."""
    scaled: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return scaled
