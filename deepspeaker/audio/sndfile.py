"""Decoding by libsndfile: WAV, FLAC, OGG, MP3 and the like, from files and from the output of commands."""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from deepspeaker.audio.decoding import SECONDS_AT_ONCE, Header, Truncated, bounds, unreadable
from deepspeaker.errors import UserError

EXTENSIONS = {*soundfile.available_formats(), "OPUS", "SPH", ""} - {"RAW"}  # of the files that libsndfile reads
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # what programs that write WAV into a pipe put for its length


def reads(path: Path) -> bool:
    """Whether libsndfile reads files of this extension."""
    return path.suffix.lower().lstrip(".").upper() in EXTENSIONS


def read_header(path: Path) -> Header:
    """A sound file's header. Raises UserError for a file that is no audio and Truncated for one that was cut short."""
    refuse_truncated_wav(path)
    try:
        with soundfile.SoundFile(path) as sound:
            header = Header(sound.frames, sound.samplerate, sound.channels)
            if not header.samples:
                raise UserError(f"no samples in {path}")
            if sound.format not in ("WAV", "WAVEX") and not _gives_last_sample(sound):
                raise Truncated(f"{path} is truncated: its header announces {header.samples} samples, the last of them "
                                "cannot be read")
    except soundfile.SoundFileError as error:
        raise unreadable(path, error) from None
    return header


def _gives_last_sample(sound: soundfile.SoundFile) -> bool:
    try:
        sound.seek(sound.frames - 1)
        return len(sound.read(1)) == 1
    except soundfile.SoundFileError:
        return False


def decode_file(path: Path, start: float, end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """As decode, of a file."""
    refuse_truncated_wav(path)
    return decode(os.fspath(path), os.fspath(path), start, end)


def decode(source: str | io.BytesIO, name: str, start: float,
           end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks (S, channels) float32 with their sampling rate, of the seconds from start to end. Raises UserError.

    name: of the source, for messages.
    """
    try:
        with soundfile.SoundFile(source) as sound:
            first, last = bounds(start, end, sound.samplerate, sound.frames, name)
            sound.seek(first)
            kind = "int16" if sound.subtype == "PCM_16" else "float32"  # libsndfile is slow to convert them
            for position in range(first, last, SECONDS_AT_ONCE * sound.samplerate):
                wanted = min(SECONDS_AT_ONCE * sound.samplerate, last - position)
                samples = sound.read(wanted, dtype=kind, always_2d=True)
                if len(samples) < wanted:
                    raise Truncated(f"{name} is truncated: {sound.frames} samples announced, "
                                    f"{position + len(samples)} there")
                yield samples if kind == "float32" else samples * np.float32(2.0 ** -15), sound.samplerate
    except soundfile.SoundFileError as error:
        raise unreadable(name, error) from None


def refuse_truncated_wav(path: Path) -> None:
    """Raise Truncated for a WAV file shorter than its header says: libsndfile reads such a file without an error."""
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
