"""What verify, identify and enroll answer: the same JSON on the command line (--json) and over HTTP."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, Field

from deepspeaker.inference.model import Model
from deepspeaker.inference.recordings import Heard, Recording
from deepspeaker.inference.speaker_database import Speaker
from deepspeaker.inference.speech_check import Trust


class Judged(BaseModel):
    """How far decisions on a recording can be trusted."""

    seconds: float = Field(description="length of the recording", examples=[3.6])
    speech: float = Field(description="seconds of it that are speech", examples=[3.1])
    level: float = Field(description="level of the speech, dB relative to full scale", examples=[-27.4])
    clipped: float = Field(description="share of clipped samples, 0 to 1", examples=[0.0])
    rate: int = Field(description="its sampling rate, Hz", examples=[48000])
    upsampled: bool = Field(description="whether this is lower than the model's", examples=[False])
    mixed: int = Field(description="channels that are not alike and were mixed; 0: none were", examples=[0])
    snr: float | None = Field(description="signal-to-noise ratio, dB", examples=[31.2])
    bandwidth: float | None = Field(description="frequency up to which there is speech, Hz; null for a model of "
                                                "telephone speech", examples=[7673])
    warnings: list[str] = Field(description="what makes decisions less reliable, a sentence each", examples=[[]])


class Compared(BaseModel):
    """Whether a recording has the speaker of the first."""

    second: str = Field(examples=["second"])
    same: bool = Field(description="llr >= threshold", examples=[True])
    llr: float = Field(description="log-likelihood ratio, natural logarithm: above 0 the recordings are likelier if "
                                   "they have one speaker than if they have two", examples=[5.12])
    score: float = Field(description="the back-end's score, before calibration", examples=[0.92])
    trust: Judged


class Verified(BaseModel):
    """Comparisons of a first recording with others."""

    first: str = Field(examples=["first"])
    threshold: float = Field(description="log-likelihood ratio from which accepting costs less than rejecting",
                             examples=[4.595])
    supported: bool = Field(description="whether the model's development data support decisions at this threshold; if "
                                        "not, all are the same", examples=[True])
    trust: Judged = Field(description="of the first recording")
    verdicts: list[Compared]


class Candidate(BaseModel):
    name: str = Field(examples=["Ann"])
    llr: float = Field(examples=[5.12])


class Identified(BaseModel):
    """Who speaks in a recording."""

    speaker: str | None = Field(description="the likeliest speaker, or null where even its llr is below the threshold",
                                examples=["Ann"])
    threshold: float = Field(examples=[4.595])
    supported: bool = Field(examples=[True])
    trust: Judged
    best: list[Candidate] = Field(description="the likeliest speakers, the likeliest first")


class Enrolled(BaseModel):
    """An enrolled speaker."""

    name: str = Field(examples=["Ann"])
    recordings: int = Field(examples=[2])
    speech: float = Field(description="seconds, in all recordings", examples=[6.4])
    added: str = Field(description="UTC date and time of the first recording", examples=["2026-11-28 14:30:21"])


class Added(Enrolled):
    """An enrolled speaker and what was added."""

    files: dict[str, Judged]


def judged(trust: Trust) -> Judged:
    return Judged(**trust._asdict(), warnings=trust.warnings)


def verify(model: Model, threshold: float, first: tuple[str, Heard], others: Sequence[tuple[str, Heard]]) -> Verified:
    """Compare the first (name, recording) with each of the others."""
    verdicts = [(name, model.compare(first[1], heard, threshold)) for name, heard in others]
    return Verified(
        first=first[0], threshold=threshold, supported=model.supports(threshold), trust=judged(first[1].trust),
        verdicts=[Compared(second=name, same=v.same, llr=v.llr, score=v.score, trust=judged(v.second))
                  for name, v in verdicts])


def identify(model: Model, threshold: float, people: Mapping[str, Sequence[Recording]], heard: Heard,
             top: int) -> Identified:
    """Name the speaker of a recording among `people`, of whom there is at least one: name -> recordings."""
    ranked = sorted(zip(people, model.llr([*people.values()], heard).tolist(), strict=True), key=lambda pair: -pair[1])
    best, llr = ranked[0]
    return Identified(speaker=best if llr >= threshold else None, threshold=threshold,
                      supported=model.supports(threshold), trust=judged(heard.trust),
                      best=[Candidate(name=name, llr=llr) for name, llr in ranked[:top]])


def added(speaker: Speaker, heard: Mapping[str, Heard]) -> Added:
    """heard: what was enrolled, by name."""
    return Added(**speaker._asdict(), files={name: judged(recording.trust) for name, recording in heard.items()})
