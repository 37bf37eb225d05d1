"""Decoding by libsndfile: WAV, FLAC, Ogg and other kinds whose lengths it knows."""

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from deepspeaker.audio.content import Content
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
MOST_SAMPLES = 1 << 40  # libsndfile gives more for a length that it does not know
FLOAT = ("FLOAT", "DOUBLE")


def reads(content: Content) -> bool:
    """Whether libsndfile decodes this content, and knows how long it is."""
    with content.open() as file:
        if file.read(3).startswith(MP3_BEGINS) or _joined_ogg(file):
            return False
    try:
        with _opened(content) as sound:
            known = sound.seekable() and 0 < sound.frames < MOST_SAMPLES
            if known and sound.format == "FLAC":
                sound.seek(sound.frames - 1)  # fails where several were joined
            return known and not sound.subtype.startswith("MPEG")
    except soundfile.SoundFileError:
        return False


def read_header(content: Content) -> Header:
    """A sound file's header. Raises UserError for a file that cannot be used, Truncated for one that was cut short."""
    with _opened(content) as sound:
        check_rate(sound.samplerate, content.name)
        if sound.subtype in FLOAT:
            for block in sound.blocks(_block(sound), dtype="float32"):
                refuse_loud(block)
        elif sound.seek(sound.frames - 1) != sound.frames - 1 or not len(sound.read(1)):
            raise Truncated(f"{content.name} is truncated: its header announces {sound.frames} samples, the last of "
                            "them cannot be read")
        return Header(sound.frames, sound.samplerate, sound.channels)


def decode(content: Content, start: float, end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks (S, channels) float32 with their sampling rate, of the seconds from start to end. Raises UserError."""
    with _opened(content) as sound:
        rate = sound.samplerate
        check_rate(rate, content.name)
        check_segment(start, end, sound.frames / rate, content.name)
        first = min(round(start * rate), sound.frames)
        last = sound.frames if end is None else min(round(end * rate), sound.frames)
        begin = 0 if sound.subtype == "VORBIS" else first  # in one that was cut out of another, seeking errs
        sound.seek(begin)
        kind = "int16" if sound.subtype == "PCM_16" else "float32"  # libsndfile is slow to convert them
        for position in range(begin, last, _block(sound)):
            wanted = min(_block(sound), last - position)
            samples = sound.read(wanted, dtype=kind, always_2d=True)
            if len(samples) < wanted:
                raise Truncated(f"{content.name} is truncated: {sound.frames} samples announced, "
                                f"{position + len(samples)} there")
            samples = samples[max(0, first - position):]
            if len(samples):
                yield samples if kind == "float32" else samples * np.float32(2.0 ** -15), rate


def _opened(content: Content) -> soundfile.SoundFile:
    return soundfile.SoundFile(content.source if isinstance(content.source, str) else io.BytesIO(content.source))


def _block(sound: soundfile.SoundFile) -> int:
    """Samples of each channel that are decoded together."""
    return max(1, min(BLOCK_SECONDS * int(sound.samplerate), BLOCK_VALUES // int(sound.channels)))



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
