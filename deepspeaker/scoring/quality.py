"""Qualities of trials, such as signal-to-noise ratio, from which a calibration learns how far to trust a score.

A quality has a value for each model (M,) and each utterance (U,); calibration takes the smaller and the larger of a
trial's two values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from deepspeaker.datadir import read_table
from deepspeaker.errors import UserError
from deepspeaker.scoring.asnorm import statistics
from deepspeaker.scoring.cosine import cosine
from deepspeaker.scoring.enrolment import Models, averaged
from deepspeaker.scoring.inputs import Compared, refuse_unknown
from deepspeaker.scoring.needs import look_up, supply

TABLE = "utt2quality"  # of a data directory, made in stage 2


class SoundQuality(NamedTuple):
    """What the frames of an utterance tell of its sound (extraction/sound_quality.py)."""

    speech: float  # seconds of voiced frames
    level: float  # root mean square of the voiced frames, dB relative to full scale
    snr: float  # level of the voiced frames over that of the quietest, dB
    bandwidth: float  # Hz, centre of the highest mel band with speech
    reverberation: float  # seconds in which the level would fall by 60 dB as it falls at the ends of sounds

    def as_text(self) -> str:
        """The fields as a line of utt2quality has them after the utterance."""
        return " ".join(f"{value:.6g}" for value in self)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """ValueError for anything but one finite number for each field."""
        found = [float(word) for word in text.split()]
        if len(found) != len(cls._fields) or not all(map(math.isfinite, found)):
            raise ValueError(f"expected {' '.join(cls._fields)}, found {text!r}")
        return cls(*found)


def read_qualities(path: Path) -> dict[str, SoundQuality] | None:
    """Utterance -> its values, from a file utt2quality; None where there is none. UserError for a row that is not such
    values."""
    if not path.exists():
        return None
    found = {}
    for utterance, text in read_table(path).items():
        try:
            found[utterance] = SoundQuality.from_text(text)
        except ValueError as error:
            raise UserError(f"{path}: {utterance}: {error}: make the features again (stage 2)") from None
    return found


def log_duration(compared: Compared, *, utt2dur: Mapping[str, str]) -> Sequence[np.ndarray]:
    """Natural logarithm of seconds: of all utterances of a model together, and of each utterance."""
    refuse_unknown("utt2dur lacks", set(compared.utterances) - utt2dur.keys())
    return _log_sums(np.array([float(utt2dur[name]) for name in compared.utterances]), compared.models)


def cohort_mean(compared: Compared, *, cohort: np.ndarray, cohort_top: int) -> Sequence[np.ndarray]:
    """Mean of the `cohort_top` highest cosines with a cohort (C, E)."""
    return [statistics(side, cohort, cohort_top)[0] for side in cosine(compared.embeddings, compared.models)[:2]]


def speech(compared: Compared, *, utt2quality: Mapping[str, SoundQuality]) -> Sequence[np.ndarray]:
    """Natural logarithm of seconds of speech: of all utterances of a model together, and of each utterance."""
    return _log_sums(_measured("speech", compared, utt2quality), compared.models)


def level(compared: Compared, *, utt2quality: Mapping[str, SoundQuality]) -> Sequence[np.ndarray]:
    return _means("level", compared, utt2quality)


def snr(compared: Compared, *, utt2quality: Mapping[str, SoundQuality]) -> Sequence[np.ndarray]:
    return _means("snr", compared, utt2quality)


def bandwidth(compared: Compared, *, utt2quality: Mapping[str, SoundQuality]) -> Sequence[np.ndarray]:
    return _means("bandwidth", compared, utt2quality)


def reverberation(compared: Compared, *, utt2quality: Mapping[str, SoundQuality]) -> Sequence[np.ndarray]:
    return _means("reverberation", compared, utt2quality)


QUALITIES: dict[str, Callable[..., Sequence[np.ndarray]]] = {
    function.__name__: function
    for function in (log_duration, cohort_mean, speech, level, snr, bandwidth, reverberation)}


def measure(quality: str, compared: Compared, i: np.ndarray, j: np.ndarray, **means: object) -> dict[str, np.ndarray]:
    """QUALITY_smaller and QUALITY_larger (n,) of trials: models i (n,) and utterances j (n,).

    The quality's function takes what it needs from `means`.
    """
    function = look_up("quality", quality, QUALITIES)
    of_models, of_utterances = function(compared, **supply(quality, function, means))
    values = of_models[i], of_utterances[j]
    return {f"{quality}_smaller": np.minimum(*values), f"{quality}_larger": np.maximum(*values)}


def _measured(field: str, compared: Compared, utt2quality: Mapping[str, SoundQuality]) -> np.ndarray:
    refuse_unknown(f"{TABLE} lacks", set(compared.utterances) - utt2quality.keys())
    return np.array([getattr(utt2quality[name], field) for name in compared.utterances])


def _means(field: str, compared: Compared, utt2quality: Mapping[str, SoundQuality]) -> Sequence[np.ndarray]:
    """The mean over the utterances of each model, and the value of each utterance."""
    values = _measured(field, compared, utt2quality)
    return averaged(values[:, None], compared.models)[:, 0], values


def _log_sums(values: np.ndarray, models: Models) -> Sequence[np.ndarray]:
    starts = np.cumsum(models.counts) - models.counts
    return np.log(np.add.reduceat(values[models.rows], starts)), np.log(values)
