"""Kaldi archives read through a memory map: any frames of any utterance without decoding the rest.

A specifier is `path:offset`, as in feats.scp. Binary float matrices and vectors (FM, DM, FV, DV) and the two
compressed kinds with contiguous rows (CM2, CM3) are read in place; CM is decoded whole. Archives are written
through kaldiio.
"""

import io
import math
import mmap
import os
import resource
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import kaldiio
import numpy as np

from deepspeaker.atomic import atomic
from deepspeaker.datadir import read_table, write_table
from deepspeaker.errors import UserError

COMPRESSION = 3  # kaldiio's number for CM2: 16 bits a value, rows contiguous
TYPES = {b"FM ": "<f4", b"FV ": "<f4", b"DM ": "<f8", b"DV ": "<f8", b"CM2": "<u2", b"CM3": "u1"}  # of the numbers
# Of an opened matrix: which mapped file, the byte where its first row begins, its shape, the type of its numbers
# ("" while it is not opened, "CM" where it must be decoded whole), and value = minimum + step * stored.
LAYOUT = np.dtype([("file", "i4"), ("start", "i8"), ("rows", "i4"), ("cols", "i4"), ("type", "U3"),
                   ("minimum", "f4"), ("step", "f4")])


Index = slice | np.ndarray  # of rows: a slice or positions (n,)


class Matrix(NamedTuple):
    """Rows in a mapped archive: value = minimum + step * stored."""

    stored: np.ndarray  # (T, F) float32, float64, uint16 or uint8, not yet read from disk
    minimum: float
    step: float

    def rows(self, index: Index = slice(None)) -> np.ndarray:
        """The values (n, F) float32 of the rows that `index` picks."""
        return _values(self.stored[index], np.float32(self.minimum), np.float32(self.step))


def _values(stored: np.ndarray, minimum: np.ndarray | np.float32, step: np.ndarray | np.float32) -> np.ndarray:
    values = stored.astype(np.float32)
    if stored.dtype.kind == "u":
        values *= step
        values += minimum
    return values


class Stored(NamedTuple):
    """Rows of n matrices, one after another, as an archive holds them: value = minimum + step * stored."""

    rows: np.ndarray  # (sum of the counts, F) float32, uint16 or uint8
    counts: np.ndarray  # (n,)
    minimum: np.ndarray  # (n,) float32
    step: np.ndarray  # (n,) float32


class MatrixTable:
    """The matrices of an scp file, each looked up when it is first asked for.

    keys: in the file's order. Headers of opened matrices are kept in one array of LAYOUT, so that a million of them
    take little memory. All methods take positions in `keys` and raise UserError as open_matrix.
    """

    def __init__(self, scp: str | os.PathLike[str]):
        self.path, table = Path(scp), read_table(scp)
        self.keys, self.specifiers = list(table), list(table.values())
        self._layout = np.zeros(len(table), LAYOUT)
        allow_open_files()
        self.files: list[np.ndarray] = []  # those opened so far, mapped, (bytes,) uint8 each
        self._numbers: dict[int, int] = {}  # id of a mapped file -> its number in `files`
        self._maps: list[mmap.mmap] | None = None  # of `files`, where they are read at random

    def read_at_random(self) -> None:
        """Prepare for `gather` of windows from anywhere in the archives: the system then reads the windows of a batch
        all at once, and no more than them."""
        self._maps = []

    def layout(self, which: np.ndarray) -> np.ndarray:
        """Where the matrices lie and what they are: (n,) of LAYOUT."""
        for i in which[self._layout["type"][which] == ""].tolist():
            data, offset = _open(self.specifiers[i], self.keys[i])
            file = self._numbers.setdefault(id(data), len(self.files))
            if file == len(self.files):
                self.files.append(data)
                if self._maps is not None:
                    self._maps.append(mapping(data))
                    self._maps[-1].madvise(mmap.MADV_RANDOM)
            self._layout[i] = (file, *_matrix_header(data, offset, self.specifiers[i], self.keys[i]))
        found: np.ndarray = self._layout[which]
        return found

    def rows(self, i: int, index: Index = slice(None)) -> np.ndarray:
        """The values (n, F) float32 of the rows of one matrix that `index` picks."""
        return open_matrix(self.specifiers[i], self.keys[i]).rows(index)

    def stored(self, which: np.ndarray, index: Sequence[Index]) -> Stored:
        """Of matrix which[k] the rows index[k]: as they are stored where all matrices have one type and width, and are
        neither decoded whole (CM) nor float64; as float32 otherwise."""
        layout = self.layout(which)
        if contiguous(layout) and layout["type"][0] != "<f8":
            parts = [matrix[rows] for matrix, rows in zip(self.stored_matrices(layout), index, strict=True)]
            minimum, step = layout["minimum"].copy(), layout["step"].copy()
        else:
            parts = [self.rows(i, rows) for i, rows in zip(which.tolist(), index, strict=True)]
            minimum, step = np.zeros(len(which), np.float32), np.ones(len(which), np.float32)
        return Stored(np.concatenate(parts), np.array([len(part) for part in parts]), minimum, step)

    def stored_matrices(self, layout: np.ndarray) -> Iterator[np.ndarray]:
        """The stored values (T, F) of each of `layout`, still in its mapped file. They must be contiguous."""
        kind, cols = str(layout["type"][0]), int(layout["cols"][0])
        for file, start, count in zip(*(layout[name].tolist() for name in ("file", "start", "rows")), strict=True):
            yield np.ndarray((count, cols), kind, buffer=self.files[file], offset=start)

    def gather(self, which: np.ndarray, index: Sequence[Index]) -> np.ndarray:
        """Windows (n, T, F) float32: of matrix which[k] the rows index[k], a slice or (T,) positions.

        Fast where the matrices are contiguous.
        """
        layout = self.layout(which)
        if not contiguous(layout):
            return np.stack([self.rows(i, rows) for i, rows in zip(which.tolist(), index, strict=True)])
        kind, cols = layout["type"][0], int(layout["cols"][0])
        width = cols * np.dtype(kind).itemsize
        first = index[0]
        frames = first.stop - first.start if isinstance(first, slice) else len(first)
        if self._maps is not None:
            _announce(self._maps, layout, index, width)
        raw = np.empty((len(which), frames, width), np.uint8)
        places = zip(layout["file"].tolist(), layout["start"].tolist(), layout["rows"].tolist(), index, strict=True)
        for window, (file, start, count, rows) in zip(raw, places, strict=True):
            window[:] = np.ndarray((count, width), np.uint8, buffer=self.files[file], offset=start)[rows]
        shape = (-1, 1, 1)
        return _values(raw.view(kind), layout["minimum"].reshape(shape), layout["step"].reshape(shape))


def contiguous(layout: np.ndarray) -> bool:
    """Whether all matrices of a layout have one type and width, and rows that can be read without the others."""
    kind, cols = layout["type"][0], layout["cols"][0]
    return bool(kind != "CM" and (layout["type"] == kind).all() and (layout["cols"] == cols).all())


def _announce(maps: Sequence[mmap.mmap], layout: np.ndarray, index: Sequence[Index], width: int) -> None:
    """Have the system read the pages of all windows; width: bytes of a row."""
    for file, start, rows in zip(layout["file"].tolist(), layout["start"].tolist(), index, strict=True):
        first, last = (rows.start, rows.stop - 1) if isinstance(rows, slice) else (int(rows.min()), int(rows.max()))
        begin = (start + first * width) // mmap.PAGESIZE * mmap.PAGESIZE
        maps[file].madvise(mmap.MADV_WILLNEED, begin, start + (last + 1) * width - begin)


def open_matrix(specifier: str, key: str) -> Matrix:
    """The matrix at `path:offset`; UserError names `key` and the file when it is malformed."""
    data, offset = _open(specifier, key)
    start, rows, cols, kind, minimum, step = _matrix_header(data, offset, specifier, key)
    if kind == "CM":
        return Matrix(kaldiio.load_mat(specifier), 0.0, 1.0)
    return Matrix(np.ndarray((rows, cols), kind, buffer=data, offset=start), minimum, step)


def _matrix_header(data: np.ndarray, offset: int, specifier: str, key: str) -> tuple[int, int, int, str, float, float]:
    """(start, rows, cols, type, minimum, step) as LAYOUT has them."""
    token = bytes(data[offset + 2:offset + 5])
    if token in (b"FM ", b"DM "):
        rows, cols, start = _sizes(data, offset + 5, 2, specifier, key)
        _check_size(data, start, TYPES[token], (rows, cols), specifier, key)
        return start, rows, cols, TYPES[token], 0.0, 1.0
    if token == b"CM ":
        minimum, span, rows, cols = _unpack("<ffii", data, offset + 5, specifier, key)
        _check_size(data, offset + 21, "u1", (cols, 8 + rows), specifier, key)
        return offset + 21, rows, cols, "CM", minimum, span
    if token not in (b"CM2", b"CM3") or data[offset + 5:offset + 6].tobytes() != b" ":
        raise _malformed(key, specifier, f"expected a matrix (FM, DM, CM, CM2 or CM3), found {token!r}")
    minimum, span, rows, cols = _unpack("<ffii", data, offset + 6, specifier, key)
    _check_size(data, offset + 22, TYPES[token], (rows, cols), specifier, key)
    return offset + 22, rows, cols, TYPES[token], minimum, span / (65535 if token == b"CM2" else 255)


def open_vector(specifier: str, key: str) -> np.ndarray:
    """The float vector at `path:offset`, mapped; UserError as open_matrix."""
    data, offset = _open(specifier, key)
    token = bytes(data[offset + 2:offset + 5])
    if token not in (b"FV ", b"DV "):
        raise _malformed(key, specifier, f"expected a vector (FV or DV), found {token!r}")
    size, start = _sizes(data, offset + 5, 1, specifier, key)
    _check_size(data, start, TYPES[token], (size,), specifier, key)
    return np.ndarray((size,), TYPES[token], buffer=data, offset=start)


def read_vectors(scp: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """key -> vector, of every line of an scp file; UserError when their dimensions differ."""
    vectors = {key: np.array(open_vector(specifier, key)) for key, specifier in read_table(scp).items()}
    if len(sizes := {vector.size: key for key, vector in vectors.items()}) > 1:
        found = ", ".join(f"{size} ({key})" for size, key in sizes.items())
        raise UserError(f"{scp}: vectors of different dimensions: {found}")
    return vectors


def write_vectors(stem: str | os.PathLike[str], vectors: Mapping[str, np.ndarray]) -> None:
    """Write STEM.ark and STEM.scp, sorted on the key; both renamed into place when whole."""
    ark, offsets = os.path.abspath(f"{stem}.ark"), {}
    with atomic(ark, "wb") as file:
        for key in sorted(vectors):
            offsets[key] = append(file, key, vectors[key])
    write_table(f"{stem}.scp", {key: f"{ark}:{offset}" for key, offset in offsets.items()})


def append(file: IO[bytes], key: str, value: np.ndarray, compress: bool = False) -> int:
    """Write one entry to an archive open for binary writing; returns the offset for its scp line."""
    offset = file.tell() + len(key.encode()) + 1
    kaldiio.save_ark(file, {key: value}, compression_method=COMPRESSION if compress else None)
    return offset


@cache  # all archives stay mapped: windows are drawn from any of them at any time
def map_file(path: str) -> np.ndarray:
    with open(path, "rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def allow_open_files() -> None:
    """Raise the limit of open files to the system's maximum: every mapped archive is one; a usual limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def mapping(data: np.ndarray) -> mmap.mmap:
    """The mapped file behind an array of map_file."""
    base: Any = data.base
    found: mmap.mmap = base if isinstance(base, mmap.mmap) else base.obj
    return found


def as_stored(matrix: np.ndarray) -> np.ndarray:
    """A matrix (T, F) as it comes back from an archive that compresses: each value rounded to 16 bits. float32."""
    file = io.BytesIO()
    offset = append(file, "-", matrix, compress=True)
    data = np.frombuffer(file.getbuffer(), np.uint8)
    start, rows, cols, kind, minimum, step = _matrix_header(data, offset, "memory", "-")
    return Matrix(np.ndarray((rows, cols), kind, buffer=data, offset=start), minimum, step).rows()


def _open(specifier: str, key: str) -> tuple[np.ndarray, int]:
    path, _, offset = specifier.rpartition(":")
    if not path or not offset.isdecimal():
        raise UserError(f"{key}: expected 'file:offset', found {specifier!r}")
    try:
        data = map_file(os.path.abspath(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: cannot read {path}: {error}") from None
    if bytes(data[int(offset):int(offset) + 2]) != b"\0B":
        raise _malformed(key, specifier, "no binary entry at this offset")
    return data, int(offset)


def _unpack(layout: str, data: np.ndarray, start: int, specifier: str, key: str) -> tuple[Any, ...]:
    raw = bytes(data[start:start + struct.calcsize(layout)])
    if len(raw) < struct.calcsize(layout):
        raise _malformed(key, specifier, "the file ends within the header")
    return struct.unpack(layout, raw)


def _sizes(data: np.ndarray, start: int, count: int, specifier: str, key: str) -> list[int]:
    """`count` sizes, each behind a byte 4, and the position after them."""
    found = _unpack("<" + "bi" * count, data, start, specifier, key)
    if any(mark != 4 for mark in found[::2]):
        raise _malformed(key, specifier, "its sizes are not 4-byte integers")
    return [*found[1::2], start + 5 * count]


def _check_size(data: np.ndarray, start: int, kind: str, shape: tuple[int, ...], specifier: str, key: str) -> None:
    size = math.prod(shape) * np.dtype(kind).itemsize
    if min(shape) < 0 or start + size > data.size:
        raise _malformed(key, specifier, f"its header announces shape {shape}, {size} bytes; "
                                         f"the file has {max(0, data.size - start)} from there")


def _malformed(key: str, specifier: str, what: str) -> UserError:
    return UserError(f"{key}: malformed archive {specifier}: {what}; make the features again (stage 2)")


def evenly_spaced(count: int, most: int) -> list[int]:
    """Positions 0..count-1, or `most` of them from the first to the last."""
    found: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    return found
