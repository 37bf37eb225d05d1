"""Decoding by FFmpeg's libraries within this process (PyAV): M4A and whatever libsndfile does not read."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepspeaker.audio.decoding import SECONDS_AT_ONCE, Header, bounds, unreadable
from deepspeaker.errors import UserError

PREROLL = 1.0  # seconds decoded before a segment: a codec's first frames may not be exact


def read_header(path: Path) -> Header:
    """A sound file's header. Raises UserError for a file that is no audio."""
    av = _av(path)
    try:
        with av.open(os.fspath(path)) as container:
            return _header(container, _sound_of(container), av.time_base)
    except (av.FFmpegError, IndexError, ValueError, TypeError) as error:
        raise unreadable(path, error) from None


def decode_file(path: Path, start: float, end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks (S, channels) float32 with their sampling rate, of the seconds from start to end. Raises UserError."""
    av = _av(path)
    try:
        with av.open(os.fspath(path)) as container:
            stream = _sound_of(container)
            stream.codec_context.thread_count = 1
            header = _header(container, stream, av.time_base)
            first, last = bounds(start, end, header.rate, header.samples, os.fspath(path))
            if start > PREROLL:
                container.seek(int((start - PREROLL) / stream.time_base), stream=stream)
            until = math.inf if end is None else last  # the header's length may be a guess
            for position, samples in _frames(av, container, stream, until):
                found = samples[max(0, first - position):None if end is None else max(0, last - position)]
                if len(found):
                    yield found, header.rate
    except (av.FFmpegError, IndexError, ValueError, TypeError) as error:
        raise unreadable(path, error) from None


def _frames(av: Any, container: Any, stream: Any, until: float) -> Iterator[tuple[int, np.ndarray]]:
    """Decoded frames up to sample `until`, some SECONDS_AT_ONCE together: (first sample's number, (S, channels))."""
    planar, waiting, position, size = av.AudioResampler(format="fltp"), [], 0, 0
    for number, frame in enumerate(container.decode(stream)):
        if number == 0 and frame.pts:
            position = round(frame.pts * stream.time_base * stream.rate)
        waiting += [part.to_ndarray() for part in planar.resample(frame)]
        size += frame.samples
        if size >= SECONDS_AT_ONCE * stream.rate or position + size >= until:
            yield position, np.concatenate(waiting, axis=1).T
            waiting, position, size = [], position + size, 0
        if position >= until:
            return
    if waiting:
        yield position, np.concatenate(waiting, axis=1).T


def _sound_of(container: Any) -> Any:
    """The first audio stream of a PyAV container."""
    if not container.streams.audio:
        raise ValueError("there is no sound in it")
    return container.streams.audio[0]


def _header(container: Any, stream: Any, time_base: int) -> Header:
    length = float(stream.duration * stream.time_base) if stream.duration else container.duration / time_base
    return Header(round(length * stream.rate), stream.rate, stream.channels)


def _av(path: Path) -> Any:
    """The module PyAV."""
    try:
        import av
    except ImportError:
        raise UserError(f"{path}: reading {path.suffix or 'this format'} needs PyAV: pip install av") from None
    return av
