"""One wav.scp entry -> samples (S,) float32 within -1..1, one channel, at the rate asked for.

Everything is read in blocks, each brought to one channel and to the rate at once, so that only the result is ever held
as a whole. Decided here: which decoder reads a file, how channels are mixed and rates converted. libsndfile decodes
what it can (sndfile.py), FFmpeg's libraries the rest (ffmpeg.py).
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

from deepspeaker.audio import ffmpeg, sndfile
from deepspeaker.audio.commands import PIPE_TIMEOUT, pipe_output
from deepspeaker.audio.decoding import Header
from deepspeaker.errors import UserError


class Audio(NamedTuple):
    samples: np.ndarray  # (S,) float32
    converted: str  # how it was converted, "" if not at all ("2 channels mixed, 44100 Hz to 16000 Hz")


def read_audio(entry: str, rate: int, start: float = 0.0, end: float | None = None, channel: int | None = None,
               pipe_timeout: float = PIPE_TIMEOUT) -> Audio:
    """Read the value of a wav.scp line: a path, or a command whose output is a sound file (`cmd |`).

    start, end: seconds, to cut a segment; the end may lie up to OVERHANG beyond the recording's. channel: which one to
    take of several, from 0; None: their mean. pipe_timeout: seconds that a command may take. Raises UserError that
    says what is wrong with the audio; the caller adds the utterance.
    """
    mono: list[np.ndarray] = []
    note, stream = "", None
    for block, found in _blocks(entry, start, end, pipe_timeout):
        single, note = _one_channel(block, channel, entry)
        if not np.isfinite(single).all():
            raise UserError(f"samples that are not finite numbers in {entry}")
        if found != rate:
            note = ", ".join(filter(None, [note, f"{found} Hz to {rate} Hz"]))
            stream = stream or soxr.ResampleStream(found, rate, 1, dtype="float32")
            single = stream.resample_chunk(single)
        mono.append(single)
    if not mono:
        raise UserError(f"no samples in {entry}")
    if stream:
        mono.append(stream.resample_chunk(mono[0][:0], last=True))
    return Audio(mono[0] if len(mono) == 1 else np.concatenate(mono), note)


def _blocks(entry: str, start: float, end: float | None, pipe_timeout: float) -> Iterator[tuple[np.ndarray, int]]:
    """Decoded blocks (S, channels) float32 of an entry, with their sampling rate."""
    if entry.endswith("|"):
        return sndfile.decode(io.BytesIO(pipe_output(entry, pipe_timeout)), "the command's output", start, end)
    path = Path(entry)
    _refuse_empty(path)
    if sndfile.reads(path):
        return sndfile.decode_file(path, start, end)
    return ffmpeg.decode_file(path, start, end)


def _one_channel(block: np.ndarray, channel: int | None, entry: str) -> tuple[np.ndarray, str]:
    """(S, channels) -> (S,), and a note on the channels. A single channel is taken whichever is asked for."""
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0], ""
    if channel is None:
        return block.mean(axis=1, dtype=np.float32), f"{channels} channels mixed"
    if channel >= channels:
        raise UserError(f"channel {channel + 1} was asked for of {entry}, which has {channels}")
    return np.ascontiguousarray(block[:, channel]), f"channel {channel + 1} of {channels}"


def probe(path: Path) -> Header:
    """A sound file's header. Raises UserError for a file that is no audio and Truncated for one that was cut short.

    Quick: only the last sample is decoded, which a compressed file that was cut short does not have.
    """
    _refuse_empty(path)
    return sndfile.read_header(path) if sndfile.reads(path) else ffmpeg.read_header(path)


def _refuse_empty(path: Path) -> None:
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")
