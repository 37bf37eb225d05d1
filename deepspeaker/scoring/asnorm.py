"""Adaptive symmetric score normalisation: Matejka et al., Analysis of score normalization in multilingual speaker
recognition, Interspeech 2017.

For each side of a trial, m and s are the mean and the standard deviation of the `cohort_top` highest cosines of its
embedding with a cohort of other speakers. The score is the mean over both sides of (cosine - m) / s.
"""

import numpy as np

from deepspeaker.errors import UserError
from deepspeaker.scoring.cosine import cosine
from deepspeaker.scoring.enrolment import Models, unit
from deepspeaker.scoring.scorer import SCORES_AT_ONCE, Scorer

COHORT_TOP = 300  # default of the steps


def asnorm(embeddings: np.ndarray, models: Models, *, cohort: np.ndarray, cohort_top: int) -> Scorer:
    """Cosines normalised by those with a cohort (C, E), usually the mean embeddings of training speakers."""
    first, second, _ = cosine(embeddings, models)
    mean_j, deviation_j = statistics(second, cohort, cohort_top)
    if models.single:
        mean_i, deviation_i = mean_j[models.rows], deviation_j[models.rows]
    else:
        mean_i, deviation_i = statistics(first, cohort, cohort_top)

    def finish(dots: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        scores: np.ndarray = ((dots - mean_i[i]) / deviation_i[i] + (dots - mean_j[j]) / deviation_j[j]) / 2
        return scores

    return Scorer(first, second, finish)


def check_cohort(size: int, top: int) -> None:
    """UserError for a cohort of `size` embeddings that is too small."""
    if size < top or top < 2:
        lower = f"set [scoring] cohort_top between 2 and {size}, or " if size >= 2 else ""
        raise UserError(f"the cohort has {size} embeddings; the {top} most similar are asked for: {lower}take a larger "
                        "cohort")


def statistics(vectors: np.ndarray, cohort: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Means (n,) and standard deviations (n,) of the `top` highest cosines of unit-length vectors (n, E) with a cohort
    (C, E); the (n, C) cosines are computed block by block.

    UserError for a cohort that is empty, smaller than `top` or of another dimension, and where the highest cosines are
    all the same.
    """
    check_cohort(len(cohort), top)
    if cohort.shape[1] != vectors.shape[1]:
        raise UserError(f"embeddings have {vectors.shape[1]} dimensions, the cohort's have {cohort.shape[1]}")
    strangers = unit(cohort).T
    size = max(1, SCORES_AT_ONCE // len(cohort))
    means, deviations = np.empty(len(vectors), vectors.dtype), np.empty(len(vectors), vectors.dtype)
    for start in range(0, len(vectors), size):
        cosines = vectors[start:start + size] @ strangers
        cosines.partition(len(cohort) - top, axis=1)
        highest = cosines[:, len(cohort) - top:]
        means[start:start + size], deviations[start:start + size] = highest.mean(1), highest.std(1)
    if not (deviations > 0).all():
        raise UserError(f"{(~(deviations > 0)).sum()} embeddings have the same cosine with each of the {top} most "
                        f"similar of the cohort: does it have one speaker many times?")
    return means, deviations
