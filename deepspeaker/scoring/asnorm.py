"""Adaptive symmetric score normalisation: Matejka et al., Analysis of score normalization in multilingual speaker
recognition, Interspeech 2017.

How alike an embedding is to many strangers, the cohort, tells which cosines are high for it: only the `cohort_top`
most alike count. The score is the mean of (s - mean) / standard deviation for the two sides.
"""

import numpy as np

from deepspeaker.errors import UserError
from deepspeaker.scoring.cosine import cosine
from deepspeaker.scoring.enrolment import Models, unit
from deepspeaker.scoring.scorer import SCORES_AT_ONCE, Scorer


def asnorm(embeddings: np.ndarray, models: Models, *, cohort: np.ndarray, cohort_top: int) -> Scorer:
    """Cosines normalised by those with a cohort (C, E), usually the means of training speakers."""
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


def statistics(vectors: np.ndarray, cohort: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Means (n,) and standard deviations (n,) of the `top` highest cosines of vectors (n, E), of length one, with a
    cohort (C, E); only a block of the (n, C) cosines is ever held.

    Raises UserError for a cohort that is empty, smaller than `top` or of another dimension, and where the highest
    cosines are all the same.
    """
    if len(cohort) < top or top < 2:
        raise UserError(f"the cohort has {len(cohort)} embeddings; the {top} most alike are asked for: set [scoring] "
                        f"cohort_top between 2 and {len(cohort)}, or take a larger cohort")
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
        raise UserError(f"{(~(deviations > 0)).sum()} embeddings have the same cosine with each of their {top} most "
                        f"alike of the cohort: is one speaker in it many times?")
    return means, deviations
