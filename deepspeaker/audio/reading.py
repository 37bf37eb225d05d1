"""One wav.scp entry -> samples (S,) float32 within -1..1, one channel, at the rate asked for.

Everything is read in blocks, each brought to one channel and to the rate at once, so that only the result is ever held
as a whole. Decided here: which decoder reads a file, by its content; how channels are mixed and rates converted.
libsndfile decodes the kinds whose lengths it knows (sndfile.py), FFmpeg's libraries the rest (ffmpeg.py).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

import numpy as np
import soxr

from deepspeaker.audio import sndfile
from deepspeaker.audio.commands import PIPE_TIMEOUT
from deepspeaker.audio.content import Content, content_of
from deepspeaker.audio.cut_short import refuse_cut_short
from deepspeaker.audio.decoding import Header, refuse_loud, unreadable
from deepspeaker.errors import UserError

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


def decode(content: Content, rate: int, start: float = 0.0, end: float | None = None,
           channel: int | None = None) -> Audio:
    """As read_audio, of content that is at hand."""
    mono: list[np.ndarray] = []
    notes: dict[str, None] = {}  # a set that keeps its order
    stream, source_rate, mixed = None, 0, 0
    with _naming(content):
        refuse_cut_short(content)
        for block, found in _decoder(content).decode(content, start, end):
            single, note, differ = _one_channel(block, channel, content.name)
            if not np.isfinite(single).all():
                raise UserError("samples that are not finite numbers")
            refuse_loud(single)
            mixed = max(mixed, differ)
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
    with _naming(content):
        refuse_cut_short(content)
        decoder = _decoder(content)
        if decoder is sndfile:
            return sndfile.read_header(content).seconds
        return float(sum(len(block) / rate for block, rate in decoder.decode(content, 0.0, None)))


def probe(entry: str | os.PathLike[str]) -> Header:
    """The header of an entry that is no command. Raises UserError for what is no audio, Truncated if it was cut short.

    Quick: of compressed files the packets are counted, and only a few are decoded.
    """
    return header_of(content_of(os.fspath(entry)))


def header_of(content: Content) -> Header:
    """As probe, of content that is at hand."""
    with _naming(content):
        refuse_cut_short(content)
        header: Header = _decoder(content).read_header(content)
        return header


def _decoder(content: Content) -> ModuleType:
    """The module that decodes this content."""
    if sndfile.reads(content):
        return sndfile
    from deepspeaker.audio import ffmpeg  # takes a fifth of a second

    return ffmpeg


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


@contextmanager
def _naming(content: Content) -> Iterator[None]:
    """Whatever a decoder throws becomes a UserError that names the sound; an OSError stays."""
    try:
        yield
    except UserError as error:
        raise error if content.name in str(error) else UserError(f"{content.name}: {error}") from None
    except OSError:
        raise
    except Exception as error:
        raise unreadable(content.name, error) from None
