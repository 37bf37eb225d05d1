"""One wav.scp entry -> samples (S,) float32 within -1..1, one channel, at the rate asked for.

Everything is read in blocks, brought to one channel and to the rate as it comes, so that only the result is ever held
as a whole. WAV, FLAC, OGG and MP3 are decoded by libsndfile, all else by FFmpeg's libraries within this process (PyAV).
"""

import io
import math
import os
import signal
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from deepspeaker.errors import UserError

SAMPLE_RATE = 16000  # Hz, of the corpora this is made for; another rate is converted to what the features ask for
MOST_BAD = 0.05  # share of a data directory's utterances that may be unusable before work on it stops
OVERHANG = 0.5  # seconds that a segment may end beyond its recording: other people round their times
BLOCK = 60  # seconds decoded at once
PREROLL = 1.0  # seconds decoded before a segment of a file that PyAV reads: a codec's first frames may not be exact
PIPE_TIMEOUT = 600.0  # seconds that a command of wav.scp may take
MOST_PIPED = 1 << 31  # bytes that a command may write: 18 hours of one channel of 16 kHz
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # what programs that write WAV into a pipe put for its length
LIBSNDFILE = {*soundfile.available_formats(), "OPUS", "SPH", ""} - {"RAW"}  # extensions that it reads; others: PyAV


class Audio(NamedTuple):
    samples: np.ndarray  # (S,) float32
    converted: str  # what was done to make it fit, "" when nothing ("2 channels mixed, 44100 Hz to 16000 Hz")


class Truncated(UserError):
    """A sound file that was cut short."""


class Header(NamedTuple):
    """What a sound file says of itself."""

    samples: int  # of each channel
    rate: int  # Hz
    channels: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def read_audio(entry: str, rate: int, start: float = 0.0, end: float | None = None, channel: int | None = None,
               pipe_timeout: float = PIPE_TIMEOUT) -> Audio:
    """Read the value of a wav.scp line: a path, or a command whose output is a sound file (`cmd |`).

    start, end: seconds, to cut a segment; the end may lie up to OVERHANG beyond the recording's. channel: which one to
    take of several, from 0; None: their mean. pipe_timeout: seconds that a command may take. Raises UserError that
    says what is wrong with the audio; the caller adds the utterance.
    """
    if entry.endswith("|"):
        blocks = _decode(io.BytesIO(pipe_output(entry, pipe_timeout)), "the command's output", start, end)
    else:
        blocks = _decode_file(Path(entry), start, end)
    mono, note, stream = [], "", None
    for block, found in blocks:
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


def _one_channel(block: np.ndarray, channel: int | None, entry: str) -> tuple[np.ndarray, str]:
    """(S, channels) -> (S,), and what was done. A recording that has only one is not asked for another."""
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0], ""
    if channel is None:
        return block.mean(axis=1, dtype=np.float32), f"{channels} channels mixed"
    if channel >= channels:
        raise UserError(f"channel {channel + 1} was asked for of {entry}, which has {channels}")
    return np.ascontiguousarray(block[:, channel]), f"channel {channel + 1} of {channels}"


def probe(path: Path) -> Header:
    """A sound file's header. Raises UserError for what is no audio and Truncated for what was cut short.

    Quick: nothing is decoded but the last sample, which a compressed file that was cut short does not give.
    """
    _refuse_empty(path)
    if not _for_libsndfile(path):
        return _probe_with_av(path)
    _refuse_truncated_wav(path)
    try:
        with soundfile.SoundFile(path) as sound:
            header = Header(sound.frames, sound.samplerate, sound.channels)
            if not header.samples:
                raise UserError(f"no samples in {path}")
            if sound.format not in ("WAV", "WAVEX") and not _gives_last_sample(sound):
                raise Truncated(f"{path} is truncated: its header announces {header.samples} samples, the last of them "
                                "cannot be read")
    except soundfile.SoundFileError as error:
        raise UserError(f"{path} is not audio that can be read: {error}") from None
    return header


def _gives_last_sample(sound: soundfile.SoundFile) -> bool:
    try:
        sound.seek(sound.frames - 1)
        return len(sound.read(1)) == 1
    except soundfile.SoundFileError:
        return False


def _probe_with_av(path: Path) -> Header:
    av = _av(path)
    try:
        with av.open(os.fspath(path)) as container:
            return _header(container, _sound_of(container), av.time_base)
    except (av.FFmpegError, IndexError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not audio that can be read: {error}") from None


@lru_cache(maxsize=1)  # the segments of one recording follow each other
def pipe_output(entry: str, timeout: float = PIPE_TIMEOUT) -> bytes:
    """What the command of a wav.scp entry `cmd |` writes; UserError with its last words when it fails.

    A command that takes longer than `timeout` seconds is ended, and what it started with it.
    """
    expired = threading.Event()
    with tempfile.TemporaryFile() as errors, subprocess.Popen(
            ["bash", "-c", "set -o pipefail\n" + entry[:-1]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=errors) as process:
        timer = threading.Timer(timeout, lambda: (expired.set(), _kill(process.pid)))
        timer.start()
        try:
            output = bytearray()
            while len(output) <= MOST_PIPED and (chunk := process.stdout.read1(1 << 20)):
                output += chunk
            if len(output) > MOST_PIPED:
                _kill(process.pid)
            status = process.wait()
        finally:
            timer.cancel()
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
    if expired.is_set():
        raise UserError(f"command did not end within {timeout:g} s: {entry}: {last}")
    if len(output) > MOST_PIPED:
        raise UserError(f"command writes more than {MOST_PIPED} bytes: {entry}")
    if status:
        raise UserError(f"command failed with status {status}: {entry}: {last}")
    return bytes(output)


def _kill(pid: int) -> None:
    """End a process and those below it."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return  # it has ended
    for child in below:
        _kill(int(child))


def _decode_file(path: Path, start: float, end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    _refuse_empty(path)
    if _for_libsndfile(path):
        _refuse_truncated_wav(path)
        return _decode(os.fspath(path), os.fspath(path), start, end)
    return _decode_with_av(path, start, end)


def _refuse_empty(path: Path) -> None:
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")


def _for_libsndfile(path: Path) -> bool:
    return path.suffix.lower().lstrip(".").upper() in LIBSNDFILE


def _av(path: Path):
    """The module PyAV."""
    try:
        import av
    except ImportError:
        raise UserError(f"{path}: reading {path.suffix or 'this format'} needs PyAV: pip install av") from None
    return av


def _decode(source: str | io.BytesIO, name: str, start: float,
            end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks (S, channels) float32 with their sampling rate, by libsndfile."""
    try:
        with soundfile.SoundFile(source) as sound:
            first, last = _bounds(start, end, sound.samplerate, sound.frames, name)
            sound.seek(first)
            kind = "int16" if sound.subtype == "PCM_16" else "float32"  # libsndfile is slow to convert them
            for position in range(first, last, BLOCK * sound.samplerate):
                wanted = min(BLOCK * sound.samplerate, last - position)
                samples = sound.read(wanted, dtype=kind, always_2d=True)
                if len(samples) < wanted:
                    raise Truncated(f"{name} is truncated: {sound.frames} samples announced, "
                                    f"{position + len(samples)} there")
                yield samples if kind == "float32" else samples * np.float32(2.0 ** -15), sound.samplerate
    except soundfile.SoundFileError as error:
        raise UserError(f"{name} is not audio that can be read: {error}") from None


def _bounds(start: float, end: float | None, rate: int, frames: int, name: str) -> tuple[int, int]:
    first, last = round(start * rate), frames if end is None else round(end * rate)
    if end is not None and (first >= last or last > frames + OVERHANG * rate):
        raise UserError(f"segment {start}..{end} s does not lie in {name}, which has {frames / rate:.2f} s")
    return min(first, frames), min(last, frames)


def _decode_with_av(path: Path, start: float, end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks (S, channels) float32 with their sampling rate, by PyAV."""
    av = _av(path)
    try:
        with av.open(os.fspath(path)) as container:
            stream = _sound_of(container)
            stream.codec_context.thread_count = 1
            header = _header(container, stream, av.time_base)
            first, last = _bounds(start, end, header.rate, header.samples, os.fspath(path))
            if start > PREROLL:
                container.seek(int((start - PREROLL) / stream.time_base), stream=stream)
            until = math.inf if end is None else last  # the header's length may be a guess
            for position, samples in _frames(av, container, stream, until):
                found = samples[max(0, first - position):None if end is None else max(0, last - position)]
                if len(found):
                    yield found, header.rate
    except (av.FFmpegError, IndexError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not audio that can be read: {error}") from None


def _frames(av, container, stream, until: float) -> Iterator[tuple[int, np.ndarray]]:
    """Decoded frames up to sample `until`, about BLOCK seconds together: (first sample's number, (S, channels))."""
    planar, waiting, position, size = av.AudioResampler(format="fltp"), [], None, 0
    for frame in container.decode(stream):
        if position is None:
            position = round(frame.pts * stream.time_base * stream.rate) if frame.pts else 0
        waiting += [part.to_ndarray() for part in planar.resample(frame)]
        size += frame.samples
        if size >= BLOCK * stream.rate or position + size >= until:
            yield position, np.concatenate(waiting, axis=1).T
            waiting, position, size = [], position + size, 0
        if position >= until:
            return
    if waiting:
        yield position, np.concatenate(waiting, axis=1).T


def _sound_of(container):
    if not container.streams.audio:
        raise ValueError("there is no sound in it")
    return container.streams.audio[0]


def _header(container, stream, time_base: int) -> Header:
    length = float(stream.duration * stream.time_base) if stream.duration else container.duration / time_base
    return Header(round(length * stream.rate), stream.rate, stream.channels)


def _refuse_truncated_wav(path: Path) -> None:
    """libsndfile reads a WAV that was cut short without a word; its header tells."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        place, header = 12, file.read(12)
        while header[:4] == b"RIFF" and file.seek(place) and len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            place += 8
            if name == b"data":
                if length not in UNKNOWN_SIZES and place + length > size:
                    raise Truncated(f"{path} is truncated: its header announces {length} bytes of samples, "
                                    f"{size - place} are there")
                return
            place += length + length % 2
