"""Scoring back-ends by name. Each makes a Scorer of embeddings (U, E) and models, with what else it needs as
keyword-only arguments."""

from collections.abc import Callable

import numpy as np

from deepspeaker.scoring.asnorm import asnorm
from deepspeaker.scoring.cosine import cosine
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.needs import look_up, supply
from deepspeaker.scoring.plda import plda
from deepspeaker.scoring.scorer import Scorer

BACKENDS: dict[str, Callable[..., Scorer]] = {"cosine": cosine, "asnorm": asnorm, "plda": plda}


def make_scorer(backend: str, embeddings: np.ndarray, models: Models, **means: object) -> Scorer:
    """The scorer of a back-end, which takes of `means` what it needs."""
    function = look_up("back-end", backend, BACKENDS)
    return function(embeddings, models, **supply(backend, function, means))
