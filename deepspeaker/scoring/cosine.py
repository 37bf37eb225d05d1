"""Cosine of the angle between two embeddings."""

import numpy as np

from deepspeaker.scoring.enrolment import Models, averaged, unit
from deepspeaker.scoring.scorer import Scorer


def cosine(embeddings: np.ndarray, models: Models) -> Scorer:
    """Cosines; a speaker model is the mean of its utterances' unit-length embeddings."""
    utterances = unit(embeddings)
    return Scorer(unit(averaged(utterances, models)), utterances)
