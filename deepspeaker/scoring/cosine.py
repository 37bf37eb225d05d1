"""Cosine of the angle between two embeddings."""

import numpy as np

from deepspeaker.scoring.enrolment import Models, averaged, unit
from deepspeaker.scoring.scorer import Scorer


def cosine(embeddings: np.ndarray, models: Models) -> Scorer:
    """A model is the mean of its utterances' embeddings, each of length one."""
    utterances = unit(embeddings)
    return Scorer(unit(averaged(utterances, models)), utterances)
