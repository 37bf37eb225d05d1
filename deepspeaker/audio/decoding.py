"""What both decoders of sound files, sndfile.py and ffmpeg.py, have in common: a file's header, a segment's bounds."""

from typing import NamedTuple

from deepspeaker.errors import UserError

SECONDS_AT_ONCE = 60  # decoded together
OVERHANG = 0.5  # seconds that a segment may end beyond its recording: other people round their times


class Truncated(UserError):
    """A sound file that was cut short."""


class Header(NamedTuple):
    """The length, rate and channels that a sound file states."""

    samples: int  # of each channel
    rate: int  # Hz
    channels: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def bounds(start: float, end: float | None, rate: int, samples: int, name: str) -> tuple[int, int]:
    """First sample of a segment and the one after its last, of a recording of `samples`. Raises UserError.

    start, end: seconds; end None: that of the recording.
    """
    first, last = round(start * rate), samples if end is None else round(end * rate)
    if end is not None and (first >= last or last > samples + OVERHANG * rate):
        raise UserError(f"segment {start}..{end} s does not lie in {name}, which has {samples / rate:.2f} s")
    return min(first, samples), min(last, samples)


def unreadable(name: object, error: Exception) -> UserError:
    """What to raise for a file that a decoder refuses."""
    return UserError(f"{name} is not audio that can be read: {error}")
