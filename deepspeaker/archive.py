"""Kaldi archives read through a memory map: any frames of any utterance without decoding the rest.

A specifier is `path:offset`, as in feats.scp. Binary float matrices and vectors (FM, DM, FV, DV) and the two
compressed kinds with contiguous rows (CM2, CM3) are read in place; CM is decoded whole. Archives are written
through kaldiio.
"""

import os
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import BinaryIO, NamedTuple

import kaldiio
import numpy as np

from deepspeaker.command import UserError
from deepspeaker.datadir import read_table, write_table
from deepspeaker.files import atomic

COMPRESSION = 3  # kaldiio's number for CM2: 16 bits a value, rows contiguous


class Matrix(NamedTuple):
    """Rows in a mapped archive: value = minimum + step * stored."""

    stored: np.ndarray  # (T, F) float32, float64, uint16 or uint8, not yet read from disk
    minimum: float
    step: float

    def rows(self, index=slice(None)) -> np.ndarray:
        """The values (n, F) float32 of the rows that `index` picks."""
        values = self.stored[index].astype(np.float32)
        if self.stored.dtype.kind == "u":
            values *= np.float32(self.step)
            values += np.float32(self.minimum)
        return values


def open_matrix(specifier: str, key: str) -> Matrix:
    """The matrix at `path:offset`; UserError names `key` and the file when it is malformed."""
    data, offset = _open(specifier, key)
    token = bytes(data[offset + 2:offset + 5])
    if token in (b"FM ", b"DM "):
        rows, cols, start = _sizes(data, offset + 5, 2, specifier, key)
        return Matrix(_array(data, start, "<f4" if token == b"FM " else "<f8", (rows, cols), specifier, key), 0.0, 1.0)
    if token == b"CM ":
        return Matrix(_decode_whole(data, offset, specifier, key), 0.0, 1.0)
    start = offset + 6
    if bytes(data[offset + 2:start]) not in (b"CM2 ", b"CM3 "):
        raise _malformed(key, specifier, f"expected a matrix (FM, DM, CM, CM2 or CM3), found {token!r}")
    minimum, span, rows, cols = _unpack("<ffii", data, start, specifier, key)
    kind, top = ("<u2", 65535) if token == b"CM2" else ("u1", 255)
    return Matrix(_array(data, start + 16, kind, (rows, cols), specifier, key), minimum, span / top)


def open_vector(specifier: str, key: str) -> np.ndarray:
    """The float vector at `path:offset`, mapped; UserError as open_matrix."""
    data, offset = _open(specifier, key)
    token = bytes(data[offset + 2:offset + 5])
    if token not in (b"FV ", b"DV "):
        raise _malformed(key, specifier, f"expected a vector (FV or DV), found {token!r}")
    size, start = _sizes(data, offset + 5, 1, specifier, key)
    return _array(data, start, "<f4" if token == b"FV " else "<f8", (size,), specifier, key)


def read_vectors(scp: str | os.PathLike) -> dict[str, np.ndarray]:
    """key -> vector, of every line of an scp file; UserError when their dimensions differ."""
    vectors = {key: np.array(open_vector(specifier, key)) for key, specifier in read_table(scp).items()}
    if len(sizes := {vector.size: key for key, vector in vectors.items()}) > 1:
        found = ", ".join(f"{size} ({key})" for size, key in sizes.items())
        raise UserError(f"{scp}: vectors of different dimensions: {found}")
    return vectors


def write_vectors(stem: str | os.PathLike, vectors: Mapping[str, np.ndarray]) -> None:
    """Write STEM.ark and STEM.scp, sorted on the key; both renamed into place when whole."""
    ark, offsets = os.path.abspath(f"{stem}.ark"), {}
    with atomic(ark, "wb") as file:
        for key in sorted(vectors):
            offsets[key] = append(file, key, vectors[key])
    write_table(f"{stem}.scp", {key: f"{ark}:{offset}" for key, offset in offsets.items()})


def append(file: BinaryIO, key: str, value: np.ndarray, compress: bool = False) -> int:
    """Write one entry to an archive open for binary writing; returns the offset for its scp line."""
    offset = file.tell() + len(key.encode()) + 1
    kaldiio.save_ark(file, {key: value}, compression_method=COMPRESSION if compress else None)
    return offset


@lru_cache(maxsize=4096)
def _map(path: str) -> np.ndarray:
    return np.memmap(path, np.uint8, "r")


def _open(specifier: str, key: str) -> tuple[np.ndarray, int]:
    path, _, offset = specifier.rpartition(":")
    if not path or not offset.isdecimal():
        raise UserError(f"{key}: expected 'file:offset', found {specifier!r}")
    try:
        data = _map(os.path.abspath(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: cannot read {path}: {error}") from None
    if bytes(data[int(offset):int(offset) + 2]) != b"\0B":
        raise _malformed(key, specifier, "no binary entry at this offset")
    return data, int(offset)


def _unpack(layout: str, data: np.ndarray, start: int, specifier: str, key: str) -> tuple:
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


def _array(data: np.ndarray, start: int, kind: str, shape: tuple, specifier: str, key: str) -> np.ndarray:
    size = np.dtype(kind).itemsize
    for n in shape:
        size *= n
    if min(shape) < 0 or start + size > data.size:
        raise _malformed(key, specifier, f"its header announces shape {shape}, {size} bytes; "
                                         f"the file has {max(0, data.size - start)} from there")
    return np.ndarray(shape, kind, buffer=data, offset=start)


def _decode_whole(data: np.ndarray, offset: int, specifier: str, key: str) -> np.ndarray:
    _, _, rows, cols = _unpack("<ffii", data, offset + 5, specifier, key)
    _array(data, offset + 21, "u1", (cols, 8 + rows), specifier, key)
    return kaldiio.load_mat(specifier)


def _malformed(key: str, specifier: str, what: str) -> UserError:
    return UserError(f"{key}: malformed archive {specifier}: {what}; make the features again (stage 2)")
