"""Stage 6: embeddings and trial lists -> scores -> log-likelihood ratios. In the order of use:

inputs.py       a trial list, enrolment lists and embeddings, read into arrays
enrolment.py    speaker models, each the average of one or several utterances
cosine.py       back-end: cosines
asnorm.py       back-end: cosines normalised by a cohort (AS-norm); COHORT_TOP
plda.py         back-end: PLDA, its training and its adaptation
plda_files.py   a PLDA in Kaldi's files
needs.py        what a back-end or a quality needs beside embeddings: its keyword-only arguments
scorer.py       what every back-end returns, a Scorer: scores of listed pairs, and the best of all pairs
score_files.py  score files: lines `id1 id2 score`
quality.py      qualities of trials, such as duration, for calibration
calibration.py  scores -> log-likelihood ratios; the decision threshold

A back-end is a function of embeddings (U, E), models and keyword-only arguments that returns a Scorer; a new one is one
file and one line in BACKENDS.
"""

from collections.abc import Callable, Iterable

import numpy as np

from deepspeaker.scoring.asnorm import asnorm
from deepspeaker.scoring.cosine import cosine
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.needs import look_up, needs, supply
from deepspeaker.scoring.plda import plda
from deepspeaker.scoring.quality import QUALITIES
from deepspeaker.scoring.scorer import Scorer

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
