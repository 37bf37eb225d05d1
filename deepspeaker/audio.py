"""One wav.scp entry -> samples (S,) float32 within -1..1, one channel, at the rate asked for."""

import io
import os
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from deepspeaker.command import UserError

SAMPLE_RATE = 16000  # Hz, of the corpora this is made for; another rate is converted to what the features ask for
MOST_BAD = 0.05  # share of a data directory's utterances that may be unusable before work on it stops
OVERHANG = 0.5  # seconds that a segment may end beyond its recording: other people round their times
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # what programs that write WAV into a pipe put for its length
LIBSNDFILE = {*soundfile.available_formats(), "OPUS"}  # extensions that it reads; others are PyAV's


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


def read_audio(entry: str, rate: int, start: float = 0.0, end: float | None = None) -> Audio:
    """Read the value of a wav.scp line: a path, or a command whose output is a sound file (`cmd |`).

    start, end: seconds, to cut a segment; the end may lie up to OVERHANG beyond the recording's. Raises UserError
    that says what is wrong with the audio; the caller adds the utterance.
    """
    if entry.endswith("|"):
        samples, found = _decode(io.BytesIO(pipe_output(entry)), "the command's output", start, end)
    else:
        samples, found = _decode_file(Path(entry), start, end)
    if samples.size == 0:
        raise UserError(f"no samples in {entry}")
    if not np.isfinite(samples).all():
        raise UserError(f"samples that are not finite numbers in {entry}")
    notes = []
    if samples.shape[1] > 1:
        notes.append(f"{samples.shape[1]} channels mixed")
    mono = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if found != rate:
        notes.append(f"{found} Hz to {rate} Hz")
        mono = soxr.resample(mono, found, rate)
    return Audio(np.ascontiguousarray(mono, np.float32), ", ".join(notes))


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
            stream = container.streams.audio[0]
            length = float(stream.duration * stream.time_base) if stream.duration else container.duration / av.time_base
            return Header(round(length * stream.rate), stream.rate, stream.channels)
    except (av.FFmpegError, IndexError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not audio that can be read: {error}") from None


def pipe_output(entry: str) -> bytes:
    """What the command of a wav.scp entry `cmd |` writes; UserError with its last words when it fails."""
    done = subprocess.run(["bash", "-c", "set -o pipefail\n" + entry[:-1]], capture_output=True,
                          stdin=subprocess.DEVNULL)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"command failed with status {done.returncode}: {entry}: {last}")
    return done.stdout


def _decode_file(path: Path, start: float, end: float | None) -> tuple[np.ndarray, int]:
    _refuse_empty(path)
    if _for_libsndfile(path):
        _refuse_truncated_wav(path)
        with path.open("rb") as file:
            return _decode(file, str(path), start, end)
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


def _decode(file, name: str, start: float, end: float | None) -> tuple[np.ndarray, int]:
    """(S, channels) float32 and the sampling rate, by libsndfile."""
    try:
        with soundfile.SoundFile(file) as sound:
            first, last = _bounds(start, end, sound.samplerate, sound.frames, name)
            sound.seek(first)
            samples = sound.read(last - first, dtype="float32", always_2d=True)
            if len(samples) < last - first:
                raise Truncated(f"{name} is truncated: {sound.frames} samples announced, "
                                f"{first + len(samples)} there")
            return samples, sound.samplerate
    except soundfile.SoundFileError as error:
        raise UserError(f"{name} is not audio that can be read: {error}") from None


def _bounds(start: float, end: float | None, rate: int, frames: int, name: str) -> tuple[int, int]:
    first, last = round(start * rate), frames if end is None else round(end * rate)
    if end is not None and (first >= last or last > frames + OVERHANG * rate):
        raise UserError(f"segment {start}..{end} s does not lie in {name}, which has {frames / rate:.2f} s")
    return min(first, frames), min(last, frames)


def _decode_with_av(path: Path, start: float, end: float | None) -> tuple[np.ndarray, int]:
    """What libsndfile does not read (M4A and all else FFmpeg knows), decoded in this process by PyAV."""
    av = _av(path)
    try:
        with av.open(os.fspath(path)) as container:
            stream = container.streams.audio[0]
            rate = stream.rate
            resampler = av.AudioResampler(format="fltp")
            frames = [out for frame in container.decode(stream) for out in resampler.resample(frame)]
            samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise UserError(f"{path} is not audio that can be read: {error}") from None
    first, last = _bounds(start, end, rate, len(samples), str(path))
    return samples[first:last], rate


def _refuse_truncated_wav(path: Path) -> None:
    """libsndfile reads a WAV that was cut short without a word; its header tells."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return
        file.seek(12)
        while len(header := file.read(8)) == 8:
            chunk, length = struct.unpack("<4sI", header)
            if chunk == b"data":
                if length not in UNKNOWN_SIZES and file.tell() + length > size:
                    raise Truncated(f"{path} is truncated: its header announces {length} bytes of samples, "
                                    f"{size - file.tell()} are there")
                return
            file.seek(length + length % 2, 1)
