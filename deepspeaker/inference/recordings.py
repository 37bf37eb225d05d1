"""Recordings as a model hears them, trials of them, and verdicts. Shapes: E dimensions of an embedding."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from deepspeaker.inference.speech_check import Trust
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.quality import SoundQuality


@dataclass(frozen=True, eq=False)
class Recording:
    """One utterance, reduced to what scoring needs."""

    embedding: np.ndarray  # (E,) float32 of unit length
    seconds: float  # length of the sound
    quality: SoundQuality | None = field(default=None, kw_only=True)  # None: not measured, as by earlier versions


@dataclass(frozen=True, eq=False)
class Heard(Recording):
    """A recording whose sound was just heard, and therefore judged; one from a database is a plain Recording."""

    trust: Trust


class Trials(NamedTuple):
    """n trials of speaker models with recordings."""

    recordings: Sequence[Recording]
    models: Models  # which recordings each is made of
    i: np.ndarray  # (n,) numbers of models
    j: np.ndarray  # (n,) numbers of recordings


class Verdict(NamedTuple):
    """Whether two recordings are of one speaker."""

    same: bool  # llr >= threshold
    llr: float  # log-likelihood ratio, natural: log p(score | same speaker) - log p(score | different speakers)
    threshold: float  # from here on accepting costs less than rejecting
    supported: bool  # whether the calibration's data support decisions at this threshold; if not, all are the same
    score: float  # the back-end's score, before calibration
    first: Trust
    second: Trust
