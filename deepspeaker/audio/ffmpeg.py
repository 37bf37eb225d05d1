"""Decoding by FFmpeg's libraries within this process (PyAV): M4A, MP3, Ogg, WebM and whatever libsndfile does not read.

Time is counted from the first decoded sample, by the timestamps of the file; a hole in them is silence. So a segment is
the same as that part of the whole recording. Lengths are counted: what a file states may be a guess.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from math import inf
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame

from deepspeaker.audio.decoding import BLOCK_SECONDS, BLOCK_VALUES, Header, Truncated, check_segment
from deepspeaker.audio.ffmpeg_frames import Opened, opened, samples_of, stamp
from deepspeaker.errors import UserError

INDEXED = "mov"  # M4A, MP4: the index says when the last packet is played
STATING = {INDEXED: 0.5, "flac": 0.01}  # kinds whose stated length is true -> seconds by which it may be wrong
# Kinds in which timestamps grow from beginning to end, also where files were joined, so that seeking finds a time:
ONE_CLOCK = ("aac", "aiff", "amr", "asf", "au", "caf", "flac", "matroska", "mov", "mp3", "nistsphere", "w64", "wav")
BEGINNING = 3  # frames
PREROLL = 1.0  # seconds decoded before a segment: a codec's first frames may not be exact
LEAST_HOLE, MOST_HOLE = 0.1, 5.0  # seconds without samples: less is rounding, more is a clock that was set anew


class NotFound(Exception):
    """The place of a segment is not to be found by seeking."""


class Clock:
    """Seconds from the first sample: `now`, and those of timestamps."""

    def __init__(self, now: float, origin: float | None) -> None:
        self.now, self.origin = now, origin

    def time(self, stamp: float | None) -> float:
        """When what bears this timestamp is played. A clock that was set anew is followed."""
        if stamp is None:
            return self.now
        if self.origin is None:
            self.origin = stamp - self.now
        ahead = stamp - self.origin - self.now
        if not -LEAST_HOLE < ahead < MOST_HOLE:
            self.origin += ahead
        return stamp - self.origin


def read_header(file: BinaryIO, name: str) -> Header:
    """The header of an open file, of whose sound only the beginning is decoded. Raises UserError, Truncated if the file
    was cut short."""
    with opened(file, name) as sound:
        frames = sound.frames()
        begin = _beginning(sound, frames)
        rate = begin[0].sample_rate
        seconds = max(_duration(begin), _counted(sound, begin, frames))
        _refuse_cut_short(sound, seconds)
        return Header(round(seconds * rate), rate, begin[0].layout.nb_channels)


def stated(file: BinaryIO, name: str) -> float:
    """Seconds that the header of an open file states; 0 for a kind in which they may be a guess."""
    with opened(file, name) as sound:
        return sound.stated if sound.kind in STATING else 0.0


def _counted(sound: Opened, begin: Sequence[AudioFrame], frames: Iterator[AudioFrame]) -> float:
    """Seconds of the whole sound, of which `begin` and then `frames` are decoded."""
    if sound.kind == "flac":  # which libsndfile could not read to the end
        return _duration(chain(begin, frames))
    clock = Clock(_duration(begin), _origin(begin))
    if sound.kind == INDEXED and sound.stated and clock.origin is not None:
        sound.seek(clock.origin + max(0.0, sound.stated - PREROLL))
        ends = [at - clock.origin + _length(packet) for packet in sound.packets() if (at := stamp(packet)) is not None]
        return min(max(ends, default=0.0), sound.stated)
    for packet in sound.packets():
        clock.now = max(clock.now, clock.time(stamp(packet)) + _length(packet))
    return clock.now


def decode(file: BinaryIO, name: str, start: float, end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks (S, channels) float32 with their sampling rate, of the seconds from start to end. Raises UserError."""
    try:
        yield from _decode(file, name, start, end, seek=start > PREROLL)
    except NotFound:
        yield from _decode(file, name, start, end, seek=False)


def _decode(file: BinaryIO, name: str, start: float, end: float | None,
            seek: bool) -> Iterator[tuple[np.ndarray, int]]:
    """As decode. Raises NotFound, before the first block, where seeking does not lead to the start of the segment."""
    until, given = inf if end is None else end, False
    with opened(file, name) as sound:
        frames = sound.frames()
        begin = _beginning(sound, frames)
        clock = Clock(0.0, _origin(begin))
        if seek:
            begin, frames = _sought(sound, start, clock)
        for since, samples, rate in _blocks(chain(begin, frames), clock, until):
            last = len(samples) if end is None else max(0, round((end - since) * rate))
            found = samples[max(0, round((start - since) * rate)):last]
            if len(found):
                given = True
                yield found, rate
        if clock.now < until:
            if seek and not given:
                raise NotFound
            check_segment(start, end, clock.now, name)
            _refuse_cut_short(sound, clock.now)


def _sought(sound: Opened, start: float, clock: Clock) -> tuple[list[AudioFrame], Iterator[AudioFrame]]:
    """The first frame somewhat before `start` and those after it; sets the clock to its time. Raises NotFound."""
    if clock.origin is None or sound.kind not in ONE_CLOCK:
        raise NotFound
    try:
        sound.seek(clock.origin + start - PREROLL)
        frames = sound.frames()
        first = next(frames)
    except (av.FFmpegError, UserError, StopIteration):
        raise NotFound from None
    found = stamp(first)
    if found is None or not 0 <= found - clock.origin <= start:
        raise NotFound
    clock.now = found - clock.origin
    return [first], frames


def _blocks(frames: Iterable[AudioFrame], clock: Clock, until: float) -> Iterator[tuple[float, np.ndarray, int]]:
    """Samples (S, channels) of frames up to a time, those of one kind together, each block with its time and rate.

    Where timestamps have a hole, a block is silence. The clock goes on to the end of what was decoded.
    """
    waiting: list[np.ndarray] = []
    since, rate, size = clock.now, 0, 0
    for frame in frames:
        samples = samples_of(frame)
        hole = clock.time(stamp(frame)) - clock.now
        if waiting and (hole > LEAST_HOLE or frame.sample_rate != rate or samples.shape[1] != waiting[0].shape[1]
                        or size >= min(BLOCK_SECONDS * rate, BLOCK_VALUES)):
            yield since, np.concatenate(waiting), rate
            waiting, size = [], 0
        rate = frame.sample_rate
        if hole > LEAST_HOLE:
            most = max(1, BLOCK_VALUES // samples.shape[1])
            for begin in range(0, silence := round(hole * rate), most):
                yield (clock.now + begin / rate,
                       np.zeros((min(most, silence - begin), samples.shape[1]), np.float32), rate)
            clock.now += hole
        if not waiting:
            since = clock.now
        waiting.append(samples)
        size += samples.size
        clock.now += len(samples) / rate
        if clock.now >= until:
            break
    if waiting:
        yield since, np.concatenate(waiting), rate


def _beginning(sound: Opened, frames: Iterator[AudioFrame]) -> list[AudioFrame]:
    """The first few frames. Raises UserError if there are none."""
    begin = list(islice(frames, BEGINNING))
    if not begin:
        raise UserError(f"no samples in {sound.name}")
    return begin


def _origin(begin: Sequence[AudioFrame]) -> float | None:
    """The timestamp of the first sample. That of the first frame, which may have lost its beginning, is inexact."""
    first, last = stamp(begin[0]), stamp(begin[-1])
    if first is None or last is None:
        return first
    exact = last - _duration(begin[:-1])
    return exact if abs(exact - first) < LEAST_HOLE else first


def _duration(frames: Iterable[AudioFrame]) -> float:
    return sum(frame.samples / frame.sample_rate for frame in frames)


def _length(packet: Any) -> float:
    """Seconds of a packet, as stated; 0 where that is unknown, or cannot be."""
    length = float((packet.duration or 0) * packet.time_base)
    return length if 0 < length < MOST_HOLE else 0.0


def _refuse_cut_short(sound: Opened, seconds: float) -> None:
    """Truncated for a file with less sound than it states. Of other kinds, cut_short.py says how to tell."""
    if seconds < sound.stated - STATING.get(sound.kind, inf):
        raise Truncated(f"{sound.name} is truncated: it states {sound.stated:.2f} s, of which {seconds:.2f} s "
                        "are there")
