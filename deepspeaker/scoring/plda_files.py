"""A PLDA in Kaldi's format: a directory of three binary files, which Kaldi's programs read, too.

`mean.vec` is subtracted from embeddings, `transform.mat` projects them, `plda` holds the rest between the tokens
`<Plda> ` and `</Plda> `: mean, transform and psi. A vector begins with `FV ` or `DV `, a matrix with `FM ` or `DM `; a
byte 4 stands before each of their sizes.
"""

import math
import os
import struct
from pathlib import Path

import numpy as np

from deepspeaker.atomic import replacing
from deepspeaker.errors import UserError
from deepspeaker.scoring.plda import Plda

BINARY, OPEN, CLOSE = b"\0B", b"<Plda> ", b"</Plda> "
TYPES = {b"FV ": ("<f4", 1), b"DV ": ("<f8", 1), b"FM ": ("<f4", 2), b"DM ": ("<f8", 2)}


def write_plda(directory: str | os.PathLike[str], plda: Plda) -> None:
    """Write DIRECTORY/{mean.vec,transform.mat,plda} as a whole or not at all, replacing an earlier DIRECTORY."""
    model = b"".join(map(_packed, (plda.mean, plda.transform, plda.psi)))
    with replacing(directory) as new:
        (new / "mean.vec").write_bytes(BINARY + _packed(plda.centre))
        (new / "transform.mat").write_bytes(BINARY + _packed(plda.projection))
        (new / "plda").write_bytes(BINARY + OPEN + model + CLOSE)


def read_plda(directory: str | os.PathLike[str]) -> Plda:
    """Read what write_plda or Kaldi wrote. UserError for a file that is missing or malformed, and where the sizes
    of the three do not agree."""
    directory = Path(directory)
    (centre,), (projection,) = (_arrays(directory / name, b"", b"", 1) for name in ("mean.vec", "transform.mat"))
    found = Plda(centre, projection, *_arrays(directory / "plda", OPEN, CLOSE, 3))
    shapes = [array.shape for array in found]
    size = len(found.mean)
    if shapes != [(centre.size,), (size, centre.size), (size,), (size, size), (size,)]:
        raise UserError(f"{directory}: mean.vec, transform.mat and plda do not fit together; shapes, in this "
                        f"order: {', '.join(map(str, shapes))}")
    return found


def _packed(array: np.ndarray) -> bytes:
    sizes = b"".join(struct.pack("<bi", 4, size) for size in array.shape)
    return (b"DV " if array.ndim == 1 else b"DM ") + sizes + array.astype("<f8").tobytes()


def _arrays(path: Path, before: bytes, after: bytes, count: int) -> list[np.ndarray]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"no such file {path}: train the PLDA first (steps/train_plda.py)") from None
    place = len(BINARY + before)
    arrays = []
    try:
        if data[:place] != BINARY + before:
            raise ValueError(f"expected {BINARY + before!r} at its start, found {data[:place]!r}")
        for _ in range(count):
            array, place = _unpacked(data, place)
            arrays.append(array)
        if data[place:] != after:
            raise ValueError(f"expected {after!r} at its end, found {data[place:place + 20]!r}")
    except (ValueError, struct.error) as error:
        raise UserError(f"{path}: not a binary Kaldi file of the expected kind: {error}") from None
    return arrays


def _unpacked(data: bytes, place: int) -> tuple[np.ndarray, int]:
    token = data[place:place + 3]
    if token not in TYPES:
        raise ValueError(f"expected a vector or a matrix at byte {place}, found {token!r}")
    kind, dimensions = TYPES[token]
    shape = struct.unpack_from("<" + "xi" * dimensions, data, place + 3)
    start = place + 3 + 5 * dimensions
    array = np.frombuffer(data, kind, math.prod(shape), start).reshape(shape).astype(np.float64)
    return array, start + array.size * np.dtype(kind).itemsize
