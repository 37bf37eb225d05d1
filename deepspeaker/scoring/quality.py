"""Qualities of trials, such as duration, from which a calibration learns how far to trust a score.

A quality has a value for each model (M,) and each utterance (U,); calibration takes the smaller and the larger of a
trial's two values.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from deepspeaker.scoring.asnorm import statistics
from deepspeaker.scoring.cosine import cosine
from deepspeaker.scoring.inputs import Compared, refuse_unknown
from deepspeaker.scoring.needs import look_up, supply


def log_duration(compared: Compared, *, utt2dur: Mapping[str, str]) -> Sequence[np.ndarray]:
    """Natural logarithm of seconds: of all utterances of a model together, and of each utterance."""
    refuse_unknown("utt2dur lacks", set(compared.utterances) - utt2dur.keys())
    seconds = np.array([float(utt2dur[name]) for name in compared.utterances])
    starts = np.cumsum(compared.models.counts) - compared.models.counts
    return np.log(np.add.reduceat(seconds[compared.models.rows], starts)), np.log(seconds)


def cohort_mean(compared: Compared, *, cohort: np.ndarray, cohort_top: int) -> Sequence[np.ndarray]:
    """Mean of the `cohort_top` highest cosines with a cohort (C, E)."""
    return [statistics(side, cohort, cohort_top)[0] for side in cosine(compared.embeddings, compared.models)[:2]]


QUALITIES: dict[str, Callable[..., Sequence[np.ndarray]]] = {"log_duration": log_duration, "cohort_mean": cohort_mean}


def measure(quality: str, compared: Compared, i: np.ndarray, j: np.ndarray, **means: object) -> dict[str, np.ndarray]:
    """QUALITY_smaller and QUALITY_larger (n,) of trials: models i (n,) and utterances j (n,).

    The quality's function takes what it needs from `means`.
    """
    function = look_up("quality", quality, QUALITIES)
    of_models, of_utterances = function(compared, **supply(quality, function, means))
    values = of_models[i], of_utterances[j]
    return {f"{quality}_smaller": np.minimum(*values), f"{quality}_larger": np.maximum(*values)}
