"""The scoring back-ends by name, and what each needs. A new back-end is added here."""

from collections.abc import Callable, Iterable

import numpy as np

from deepspeaker.scoring.asnorm import asnorm
from deepspeaker.scoring.cosine import cosine
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.needs import look_up, needs, supply
from deepspeaker.scoring.plda import plda
from deepspeaker.scoring.quality import QUALITIES
from deepspeaker.scoring.scorer import Scorer

AUTO = "auto"  # [scoring] backends: the best on the development set
BACKENDS: dict[str, Callable[..., Scorer]] = {"cosine": cosine, "asnorm": asnorm, "plda": plda}


def make_scorer(backend: str, embeddings: np.ndarray, models: Models, **means: object) -> Scorer:
    """The scorer of a back-end, which takes what it needs from `means`."""
    function = look_up("back-end", backend, BACKENDS)
    return function(embeddings, models, **supply(backend, function, means))


def needed(backends: Iterable[str], qualities: Iterable[str]) -> set[str]:
    """What back-ends and qualities need beyond embeddings and trials, such as "cohort" and "plda".

    UserError, with the valid names, for a name that does not exist.
    """
    functions: list[Callable[..., object]] = [look_up("back-end", name, BACKENDS) for name in backends]
    functions += [look_up("quality", name, QUALITIES) for name in qualities]
    return {need for function in functions for need in needs(function)}
