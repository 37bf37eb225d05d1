"""Sound in Kaldi's wave archives: WAV files of 16 bits and one channel, one after another, read through a memory map.

A specifier is `path:offset`, as in sound.scp. Kaldi's tools, kaldiio and an entry of wav.scp read these archives, too.
"""

import io
import mmap
import os
import struct
import wave
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from deepspeaker.datadir import read_table
from deepspeaker.datadir.archive import allow_open_files, map_file, mapping
from deepspeaker.errors import UserError

FULL_SCALE = 32768  # 16-bit samples are those within -1..1 times this
HEADER = 4096  # bytes within which a WAV's samples begin


class Pieces(NamedTuple):
    """Pieces of sounds, one after another in each of n rows. Beyond its ends a sound goes on mirrored, without end."""

    which: np.ndarray  # (n,) positions in SoundTable.keys
    begin: np.ndarray  # (n, P) the first sample of each piece
    size: np.ndarray  # (n, P) how many it has; 0: no such piece

    def part(self, rows: slice | np.ndarray) -> "Pieces":
        return Pieces(*(values[rows] for values in self))

    @property
    def width(self) -> int:
        """Samples of the longest row."""
        return int(self.size.sum(1).max())


class SoundTable:
    """The sounds of an scp file, each looked up when it is first asked for.

    keys: in the file's order. Methods take positions in `keys` and raise UserError, with key and file, for what is no
    16-bit WAV of one channel, is cut short, or has another rate than `rate` (Hz).
    """

    def __init__(self, scp: str | os.PathLike[str], rate: int):
        self.path, self.rate, table = Path(scp), rate, read_table(scp)
        self.keys, self.specifiers = list(table), list(table.values())
        self._place = np.full((len(table), 2), -1)  # byte of the first sample, number of samples
        self._file = np.zeros(len(table), np.int32)
        self._files: list[np.ndarray] = []
        self._maps: list[mmap.mmap] = []  # of `_files`
        self._numbers: dict[int, int] = {}
        allow_open_files()

    def bytes(self) -> int:
        """The size of the archives. No sound is looked up."""
        return sum(os.stat(path).st_size for path in {specifier.rpartition(":")[0] for specifier in self.specifiers})

    def lengths(self, which: np.ndarray) -> np.ndarray:
        """Number of samples (n,) of each sound."""
        for i in which[self._place[which, 1] < 0].tolist():
            path, start, self._place[i, 1] = _find(self.specifiers[i], self.keys[i], self.rate)
            self._place[i, 0] = start
            self._file[i] = self._numbers.setdefault(id(data := map_file(path)), len(self._files))
            if self._file[i] == len(self._files):
                self._files.append(data)
                self._maps.append(mapping(data))
                self._maps[-1].madvise(mmap.MADV_RANDOM)
        found: np.ndarray = self._place[which, 1]
        return found

    def cut(self, pieces: Pieces, out: np.ndarray) -> None:
        """Write the pieces into the rows of `out` (n, width) int16, which has zeros."""
        rows = [*zip(pieces.which.tolist(), self.lengths(pieces.which).tolist(), pieces.begin.tolist(),
                     pieces.size.tolist(), strict=True)]
        for i, length, begins, sizes in rows:
            for first, count in zip(begins, sizes, strict=True):
                self._announce(i, max(0, first), min(length, first + count))
        for row, (i, length, begins, sizes) in zip(out, rows, strict=True):
            sound, place = self._samples(i), 0
            for first, count in zip(begins, sizes, strict=True):
                start, stop = max(0, first), min(length, first + count)
                if start < stop:
                    row[place + start - first:place + stop - first] = sound[start:stop]
                for start, stop in ((first, min(0, first + count)), (max(length, first), first + count)):
                    if start < stop:
                        row[place + start - first:place + stop - first] = sound[mirrored(start, stop, length)]
                place += count

    def samples(self, i: int) -> np.ndarray:
        """All samples (S,) int16, still in the mapped file."""
        self._announce(i, 0, int(self.lengths(np.array([i]))[0]))
        return self._samples(i)

    def _samples(self, i: int) -> np.ndarray:
        start, count = self._place[i].tolist()
        return np.ndarray((count,), "<i2", buffer=self._files[self._file[i]], offset=start)

    def _announce(self, i: int, first: int, stop: int) -> None:
        """Have the system read the pages of these samples all at once; others are not read ahead."""
        if first < stop:
            start = int(self._place[i, 0])
            page = (start + 2 * first) // mmap.PAGESIZE * mmap.PAGESIZE
            self._maps[self._file[i]].madvise(mmap.MADV_WILLNEED, page, start + 2 * stop - page)


def mirrored(begin: int, stop: int, length: int) -> np.ndarray:
    """The positions begin..stop of a sound that goes on mirrored beyond its ends, as those within 0..length-1."""
    position = np.arange(begin, stop) % (2 * length)
    found: np.ndarray = np.minimum(position, 2 * length - 1 - position)
    return found


def append_sound(file: IO[bytes], key: str, samples: np.ndarray, rate: int) -> int:
    """Write samples (S,) to an archive open for binary writing; returns the offset for its scp line.

    samples: float32 within -1..1, of which each is rounded to 16 bits; those beyond are clipped.
    """
    content = io.BytesIO()
    with wave.open(content, "wb") as wav:
        wav.setparams((1, 2, rate, len(samples), "NONE", ""))
        wav.writeframesraw(to_16_bits(samples).tobytes())
    offset = file.tell() + len(key.encode()) + 1
    file.write(key.encode() + b" " + content.getbuffer())
    return offset


def to_16_bits(samples: np.ndarray) -> np.ndarray:
    """Samples float32 within -1..1 -> int16."""
    return np.clip(np.rint(samples * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")


class Wave(NamedTuple):
    """What the header of a WAV file says."""

    form: int  # 1: samples as numbers
    channels: int
    rate: int
    bits: int
    begin: int  # byte of the first sample
    size: int  # bytes of samples


def _find(specifier: str, key: str, rate: int) -> tuple[str, int, int]:
    """The mapped file of a sound, the byte where its samples begin, and their number."""
    path, _, offset = specifier.rpartition(":")
    if not path or not offset.isdecimal():
        raise _malformed(key, specifier, "expected 'file:offset'")
    path, begin = os.path.abspath(path), int(offset)
    try:
        data = map_file(path)
    except (OSError, ValueError) as error:
        raise _malformed(key, specifier, f"cannot be read: {error}") from None
    head = bytes(data[begin:begin + HEADER])
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise _malformed(key, specifier, f"expected a WAV file at this offset, found {head[:12]!r}")
    found = _header(head)
    if not found:
        raise _malformed(key, specifier, f"no samples within its first {HEADER} bytes")
    if (found.form, found.channels, found.bits) != (1, 1, 16):
        raise _malformed(key, specifier, f"expected 16-bit samples of one channel, found format {found.form}, "
                                         f"{found.channels} channels, {found.bits} bits")
    if found.rate != rate:
        raise _malformed(key, specifier, f"expected {rate} samples a second, found {found.rate}")
    if found.size < 2:
        raise _malformed(key, specifier, "expected samples, found none")
    start = begin + found.begin
    if start + found.size > data.size:
        raise _malformed(key, specifier, f"its header announces {found.size} bytes; the file has "
                                         f"{max(0, data.size - start)} from there")
    return path, start, found.size // 2


def _header(head: bytes) -> Wave | None:
    """The chunks of a WAV file up to its samples; None where its first bytes, `head`, end before these."""
    place, form = 12, b""
    while (name := head[place:place + 4]) != b"data":
        if len(head) < place + 8:
            return None
        size = struct.unpack_from("<I", head, place + 4)[0]
        form = head[place + 8:place + 8 + size] if name == b"fmt " else form
        place += 8 + size + size % 2
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", form[:16].ljust(16, b"\0"))
    size = struct.unpack_from("<I", head.ljust(place + 8, b"\0"), place + 4)[0]
    return Wave(kind, channels, rate, bits, place + 8, size)


def _malformed(key: str, specifier: str, what: str) -> UserError:
    return UserError(f"{key}: {specifier}: {what}; make the archive again (stage 2)")
