"""One wav.scp entry -> samples (S,) float32 within -1..1, one channel, at the rate asked for.

Everything is read in blocks, each brought to one channel and to the rate at once, so that only the result is ever held
as a whole. Decided here: which decoder reads a file, by its content; how channels are mixed and rates converted.
libsndfile decodes the kinds whose lengths it knows (sndfile.py), FFmpeg's libraries the rest (ffmpeg.py).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import soxr

from deepspeaker.audio import sndfile
from deepspeaker.audio.commands import PIPE_TIMEOUT
from deepspeaker.audio.content import Content, content_of, is_command
from deepspeaker.audio.cut_short import refuse_cut_short
from deepspeaker.audio.decoding import UNLIMITED, Header, Limits, refuse_loud, unreadable
from deepspeaker.errors import UserError, first_line

ALIKE = 1e-3  # largest difference of channels that hold the same sound, which lossy formats change a little


class Audio(NamedTuple):
    """Samples at the rate asked for, and what they were made from."""

    samples: np.ndarray  # (S,) float32
    rate: int  # Hz, of the file
    mixed: int  # channels that are not alike and were mixed; 0: none were
    converted: str  # how it was converted, "" if not at all ("2 channels mixed, 44100 Hz to 16000 Hz")


def read_audio(entry: str, rate: int, start: float = 0.0, end: float | None = None, channel: int | None = None,
               pipe_timeout: float = PIPE_TIMEOUT) -> Audio:
    """Read the value of a wav.scp line: a path, a command whose output is a sound file (`cmd |`), `FILE.ark:OFFSET`.

    start, end: seconds, to cut a segment; the end may lie up to OVERHANG beyond the recording's. channel: which one to
    take of several, from 0; None: their mean. pipe_timeout: seconds that a command may take. Raises UserError that
    says what is wrong with the audio, or OSError; the caller adds the utterance.
    """
    return decode(content_of(entry, pipe_timeout), rate, start, end, channel)


def decode(content: Content, rate: int, start: float = 0.0, end: float | None = None, channel: int | None = None,
           limits: Limits = UNLIMITED) -> Audio:
    """As read_audio, of content that is at hand. UserError, as early as possible, for what exceeds the limits."""
    mono: list[np.ndarray] = []
    notes: dict[str, None] = {}  # a set that keeps its order
    stream, source_rate, mixed, seconds, values = None, 0, 0, 0.0, 0
    with _opened(content) as (decoder, sound):
        if limits is not UNLIMITED:  # FFmpeg's libraries open the file once more for this
            limits.refuse_long(decoder.stated(sound, content.name), content.name)
        for block, found in decoder.decode(sound, content.name, start, end):
            values += block.size
            limits.refuse_expanding(values, content.size, content.name)
            single, note, differ = _one_channel(block, channel, content.name)
            refuse_loud(single, content.name)
            mixed, seconds = max(mixed, differ), seconds + len(single) / found
            limits.refuse_long(seconds, content.name)
            if found != source_rate:
                if stream:
                    mono.append(stream.resample_chunk(single[:0], last=True))
                stream = None if found == rate else soxr.ResampleStream(found, rate, 1, dtype="float32")
                source_rate = found
            if stream:
                single = stream.resample_chunk(single)
            notes |= dict.fromkeys(filter(None, [note, f"{found} Hz to {rate} Hz" if stream else ""]))
            mono.append(single)
        if not mono:
            raise UserError(f"no samples in {content.name}")
        if stream:
            mono.append(stream.resample_chunk(mono[0][:0], last=True))
        return Audio(mono[0] if len(mono) == 1 else np.concatenate(mono), source_rate, mixed, ", ".join(notes))


def seconds(entry: str) -> float:
    """The exact length of an entry's sound: read from the header where that can be trusted, else decoded. Raises as
    read_audio."""
    content = content_of(entry)
    with _opened(content) as (decoder, sound):
        if decoder is sndfile:
            return sndfile.read_header(sound, content.name).seconds
        return float(sum(len(block) / rate for block, rate in decoder.decode(sound, content.name, 0.0, None)))


def probe(entry: str | os.PathLike[str]) -> Header:
    """The header of an entry that is no command. Raises UserError for what is no audio, Truncated if it was cut short.

    Quick: of compressed files the packets are counted, and only a few are decoded. So the length may be wrong by some
    packets, a tenth of a second or so.
    """
    if is_command(os.fspath(entry)):
        raise UserError(f"{os.fspath(entry)}: expected a sound file, found a command, which is not run")
    return header_of(content_of(os.fspath(entry)))


def header_of(content: Content) -> Header:
    """As probe, of content that is at hand."""
    with _opened(content) as (decoder, sound):
        header: Header = decoder.read_header(sound, content.name)
        return header


@contextmanager
def _opened(content: Content) -> Iterator[tuple[ModuleType, Any]]:
    """The module that decodes this content, and what its functions take.

    Whatever a decoder throws becomes a UserError that names the sound, except an OSError that names it.
    """
    try:
        with content.open() as file, np.errstate(over="ignore", invalid="ignore"):  # told as not finite
            refuse_cut_short(file, content.name)
            if sound := sndfile.recognised(file):
                with sound:
                    yield sndfile, sound
            else:
                from deepspeaker.audio import ffmpeg  # takes a fifth of a second

                yield ffmpeg, file
    except UserError:
        raise
    except OSError as error:
        raise error if error.filename else UserError(f"{content.name}: {error.strerror or error}") from None
    except Exception as error:
        reason = getattr(error, "error_string", None) or first_line(error) or type(error).__name__  # of libsndfile
        raise unreadable(content.name, reason) from None


def _one_channel(block: np.ndarray, channel: int | None, name: str) -> tuple[np.ndarray, str, int]:
    """(S, channels) -> (S,), a note on the channels, the number of them if they are mixed and not alike.

    A single channel is taken whichever is asked for.
    """
    channels = block.shape[1]
    if channel is not None and channel < 0:
        raise UserError(f"expected a channel from 0 on, found {channel}")
    if channels == 1:
        return block[:, 0], "", 0
    if channel is None:
        alike = np.abs(block - block[:, :1]).max() < ALIKE
        return block.mean(axis=1, dtype=np.float32), f"{channels} channels mixed", 0 if alike else channels
    if channel >= channels:
        raise UserError(f"channel {channel} was asked for of {name}, which has channels 0 to {channels - 1}")
    return np.ascontiguousarray(block[:, channel]), f"channel {channel} of {channels}", 0
