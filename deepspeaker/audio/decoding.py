"""What both decoders of sound files, sndfile.py and ffmpeg.py, have in common: a file's header, limits, errors."""

import math
from typing import NamedTuple

import numpy as np

from deepspeaker.errors import UserError

BLOCK_SECONDS = 60  # decoded together
BLOCK_VALUES = 1 << 23  # decoded together at most, over all channels
OVERHANG = 0.5  # seconds that a segment may end beyond its recording: other people round their times
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz: a header with another rate is damaged
HARMLESS = 1 << 25  # bytes that any file may become, such as a minute of silence
LOUDEST = 2.0  # decoding may exceed 1 a little; samples beyond this are not scaled to -1..1


class Limits(NamedTuple):
    """How much may be decoded of one sound."""

    seconds: float = math.inf
    expansion: float = math.inf  # bytes of float32 samples, over all channels, for each byte of a file, beyond HARMLESS

    def refuse_long(self, seconds: float, name: str) -> None:
        if seconds > self.seconds:
            raise UserError(f"{name} is longer than {self.seconds / 60:g} minutes: cut it into shorter files")

    def refuse_expanding(self, values: int, size: int, name: str) -> None:
        """UserError for so many samples, over all channels, in a file of `size` bytes."""
        if values * 4 > max(HARMLESS, self.expansion * size):
            raise UserError(f"{name} has {size} bytes, from which more than {self.expansion:g} times as many would be "
                            "decoded: save it in another format")


UNLIMITED = Limits()


class Truncated(UserError):
    """A sound file that was cut short."""


class Header(NamedTuple):
    """The length, rate and channels of a sound file."""

    samples: int  # of each channel
    rate: int  # Hz
    channels: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def check_rate(rate: int, name: str) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UserError(f"{name}: expected a sampling rate of {LOWEST_RATE} to {HIGHEST_RATE} Hz, its header says "
                        f"{rate}: the file is damaged")


def check_segment(start: float, end: float | None, seconds: float, name: str) -> None:
    """UserError for a segment that lies outside a recording of so many seconds. end None: the recording's."""
    if start >= seconds or (end is not None and (start >= end or end > seconds + OVERHANG)):
        until = "the end" if end is None else f"{end} s"
        raise UserError(f"segment {start}..{until} does not lie in {name}, which has {seconds:.2f} s")


def refuse_loud(samples: np.ndarray, name: str = "") -> None:
    """UserError for samples that are not within -1..1, as in a file of floats that holds 16-bit values, or not finite.

    name: of the sound, which the message begins with.
    """
    where = f"{name}: " if name else ""
    loudest = float(np.maximum(samples.max(initial=0.0), -samples.min(initial=0.0)))
    if not math.isfinite(loudest):
        raise UserError(f"{where}samples that are not finite numbers")
    if loudest > LOUDEST:
        cure = ": these are 16-bit values stored as floats; divide them by 32768" if 1000 < loudest <= 32768 else ""
        raise UserError(f"{where}expected samples within -1..1, found {loudest:g}{cure}")


def unreadable(name: str, reason: str) -> UserError:
    """What to raise for a file that a decoder refuses."""
    return UserError(f"{name} is not audio that can be read: {reason}")
