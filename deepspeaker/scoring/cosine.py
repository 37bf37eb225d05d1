"""Cosine of the angle between two embeddings."""

import numpy as np


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, E), (n, E) of length one -> (n,)."""
    return np.einsum("ne,ne->n", first, second)
