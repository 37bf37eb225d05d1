"""Decoding by libsndfile: WAV, FLAC, Ogg and other kinds whose lengths it knows."""

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from deepspeaker.audio.decoding import (
    BLOCK_SECONDS,
    BLOCK_VALUES,
    Header,
    Truncated,
    check_rate,
    check_segment,
    refuse_loud,
)

MP3_BEGINS = (b"ID3", b"\xff")  # mostly; libsndfile believes what MP3 states, and libmpg123 writes to standard error
MP3_IN_WAV = (b"\x55\0", b"\0\x55")  # the same; its number in the chunk "fmt " of a WAV
WITHIN = 4096  # bytes from the beginning of a WAV: its "fmt " is there
SDS_BEGINS = b"\xf0\x7e"  # libsndfile refuses good ones and writes to standard output
MOST_SAMPLES = 1 << 40  # libsndfile gives more for a length that it does not know
FLOAT = ("FLOAT", "DOUBLE")


def recognised(file: BinaryIO) -> soundfile.SoundFile | None:
    """The sound of an open file; None where libsndfile does not decode it or does not know how long it is.

    It gets no name, by which it would take for raw samples what it does not know.
    """
    file.seek(0)
    begin = file.read(WITHIN)
    if begin.startswith((*MP3_BEGINS, SDS_BEGINS)) or _mp3_in_wav(begin) or _joined_ogg(file):
        return None
    file.seek(0)
    try:
        source = file if isinstance(file, io.BytesIO) else file.fileno()
        sound = soundfile.SoundFile(source, closefd=False)
        known = sound.seekable() and 0 < sound.frames < MOST_SAMPLES and not sound.subtype.startswith("MPEG")
        if known and sound.format == "FLAC":
            sound.seek(sound.frames - 1)  # fails where several were joined
    except soundfile.SoundFileError:
        return None
    if known:
        return sound
    sound.close()
    return None


def read_header(sound: soundfile.SoundFile, name: str) -> Header:
    """The header. Raises UserError for a file that cannot be used, Truncated for one that was cut short. A file of
    floats is read to its end."""
    check_rate(sound.samplerate, name)
    if sound.subtype in FLOAT:
        sound.seek(0)
        for block in sound.blocks(_block(sound), dtype="float32"):
            refuse_loud(block, name)
    elif sound.seek(sound.frames - 1) != sound.frames - 1 or not len(sound.read(1)):
        raise Truncated(f"{name} is truncated: its header announces {sound.frames} samples, the last of them cannot be "
                        "read")
    return Header(sound.frames, sound.samplerate, sound.channels)


def stated(sound: soundfile.SoundFile, name: str) -> float:
    """Seconds that the header states."""
    return float(sound.frames / sound.samplerate)


def decode(sound: soundfile.SoundFile, name: str, start: float, end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks (S, channels) float32 with their sampling rate, of the seconds from start to end. Raises UserError."""
    rate = sound.samplerate
    check_rate(rate, name)
    check_segment(start, end, sound.frames / rate, name)
    first = min(round(start * rate), sound.frames)
    last = sound.frames if end is None else min(round(end * rate), sound.frames)
    begin = 0 if first and sound.subtype == "VORBIS" and not _seeks(sound) else first
    sound.seek(begin)
    kind = "int16" if sound.subtype == "PCM_16" else "float32"  # libsndfile is slow to convert them
    for position in range(begin, last, _block(sound)):
        wanted = min(_block(sound), last - position)
        samples = sound.read(wanted, dtype=kind, always_2d=True)
        if len(samples) < wanted:
            raise Truncated(f"{name} is truncated: {sound.frames} samples announced, {position + len(samples)} there")
        samples = samples[max(0, first - position):]
        if len(samples):
            yield samples if kind == "float32" else samples * np.float32(2.0 ** -15), rate


def _seeks(sound: soundfile.SoundFile) -> bool:
    """Whether seeking finds the right samples. It does not in Vorbis that was cut out of another file."""
    half = min(sound.frames, sound.samplerate) // 2
    try:
        sound.seek(0)
        expected = sound.read(2 * half)[half:]
        sound.seek(half)
        return np.array_equal(sound.read(half), expected)
    except soundfile.SoundFileError:
        return False


def _block(sound: soundfile.SoundFile) -> int:
    """Samples of each channel that are decoded together."""
    return max(1, min(BLOCK_SECONDS * int(sound.samplerate), BLOCK_VALUES // int(sound.channels)))


def _mp3_in_wav(begin: bytes) -> bool:
    place = begin.find(b"fmt ")
    return begin.startswith(b"RIF") and place > 0 and begin[place + 8:place + 10] in MP3_IN_WAV


def _joined_ogg(file: BinaryIO) -> bool:
    """Whether a file is several of Ogg in a row: a page that begins a stream comes after some that do not."""
    begun = False
    file.seek(0)
    while len(head := file.read(27)) == 27 and head.startswith(b"OggS"):
        begins = bool(head[5] & 2)
        if begins and begun:
            return True
        begun |= not begins
        file.seek(sum(file.read(head[26])), os.SEEK_CUR)
    return False
