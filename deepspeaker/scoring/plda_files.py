"""A PLDA as Kaldi's recipes leave it: a directory with three files, which Kaldi's programs read, too.

`mean.vec` is subtracted from embeddings, `transform.mat` projects them: D x E, or D x (E + 1) with an offset to add in
the last column. `plda` holds the rest between the tokens `<Plda>` and `</Plda>`: mean, transform and psi. A fourth
file, `normalize_length`, is ours and says `true` or `false`: whether scoring normalises the length in the PLDA's space,
as Kaldi's does by default. A directory without it comes from Kaldi: true.

Binary files begin with a null byte and `B`; a vector is `FV ` or `DV ` and its size, a matrix `FM ` or `DM ` and its
two sizes, each behind a byte 4, then float32 or float64 numbers. In text files both stand in brackets, each row of a
matrix on a line of its own.
"""

import math
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepspeaker.atomic import replacing
from deepspeaker.errors import UserError, examples
from deepspeaker.scoring.plda import Plda

NAMES = ("mean.vec", "transform.mat", "plda", "normalize_length")
BINARY = b"\0B"
TYPES = {b"FV ": ("<f4", 1), b"DV ": ("<f8", 1), b"FM ": ("<f4", 2), b"DM ": ("<f8", 2)}
KINDS = {1: "vector", 2: "matrix"}  # by number of dimensions


def write_plda(directory: str | os.PathLike[str], plda: Plda) -> None:
    """Write DIRECTORY as a whole or not at all, replacing an earlier one. UserError if that holds other files."""
    directory = Path(directory)
    if directory.is_dir() and (others := sorted({path.name for path in directory.iterdir()} - {*NAMES})):
        raise UserError(f"{directory} holds more than a PLDA: {examples(others)}; it would be replaced as a whole: "
                        f"choose another directory")
    model = b"".join(map(_packed, (plda.mean, plda.transform, plda.psi)))
    with replacing(directory) as new:
        (new / "mean.vec").write_bytes(BINARY + _packed(plda.centre))
        (new / "transform.mat").write_bytes(BINARY + _packed(plda.projection))
        (new / "plda").write_bytes(BINARY + b"<Plda> " + model + b"</Plda> ")
        (new / "normalize_length").write_text(f"{plda.normalize_length}\n".lower())


def read_plda(directory: str | os.PathLike[str]) -> Plda:
    """Read what write_plda or Kaldi wrote. UserError for a file that is missing or malformed, for values that no PLDA
    has, and where the sizes of the files do not agree."""
    directory = Path(directory)
    (centre,), (projection,) = _read(directory / "mean.vec", [1]), _read(directory / "transform.mat", [2])
    mean, transform, psi = _read(directory / "plda", [1, 2, 1], "Plda")
    size = len(centre)
    if projection.shape[1] not in (size, size + 1):
        raise UserError(f"{directory}: mean.vec has {size} values, so transform.mat must have {size} columns, or "
                        f"{size + 1} with an offset; found {projection.shape[1]}")
    size = len(projection)
    if [array.shape for array in (mean, transform, psi)] != [(size,), (size, size), (size,)]:
        raise UserError(f"{directory}: transform.mat has {size} rows, so plda must hold a mean of {size} values, a "
                        f"transform of {size} x {size} and a psi of {size}; found {len(mean)}, "
                        f"{' x '.join(map(str, transform.shape))} and {len(psi)}")
    if psi.min() < 0:
        raise UserError(f"{directory / 'plda'}: its psi are variances: expected at least 0, found {psi.min():g}")
    if (rank := np.linalg.matrix_rank(transform)) < size:
        raise UserError(f"{directory / 'plda'}: its transform is singular: expected rank {size}, found {rank}")
    return Plda(centre, projection, mean, transform, psi, _normalize_length(directory / "normalize_length"))


def _normalize_length(path: Path) -> bool:
    if not path.exists():
        return True
    found = path.read_text(errors="replace").strip()
    if found not in ("true", "false"):
        raise UserError(f"{path}: expected true or false, found {found[:20]!r}")
    return found == "true"


def _packed(array: np.ndarray) -> bytes:
    sizes = b"".join(struct.pack("<bi", 4, size) for size in array.shape)
    return (b"DV " if array.ndim == 1 else b"DM ") + sizes + array.astype("<f8").tobytes()


def _read(path: Path, dimensions: Sequence[int], name: str = "") -> list[np.ndarray]:
    """The arrays of a file, as float64: 1 dimension is a vector, 2 are a matrix. name: of the tokens around them."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"no such file {path}: train the PLDA first (steps/train_plda.py), or put Kaldi's mean.vec, "
                        f"transform.mat and plda into one directory") from None
    read = _binary if data.startswith(BINARY) else _text
    try:
        arrays = read(data, dimensions, *(f"<{name}>", f"</{name}>") if name else ("", ""))
        for array in arrays:
            if not array.size:
                raise ValueError("expected numbers, found none")
            if not (finite := np.isfinite(array)).all():
                raise ValueError(f"expected finite numbers, found {array[~finite][0]}")
    except (ValueError, struct.error) as error:
        raise UserError(f"{path}: not a Kaldi file of the expected kind: {error}") from None
    return arrays


def _binary(data: bytes, dimensions: Sequence[int], before: str, after: str) -> list[np.ndarray]:
    place = len(BINARY)
    arrays = []
    if before:
        token = f"{before} ".encode()
        if data[place:place + len(token)] != token:
            raise ValueError(f"expected {token!r} at its start, found {data[place:place + len(token)]!r}")
        place += len(token)
    for number in dimensions:
        array, place = _unpacked(data, place, number)
        arrays.append(array)
    if data[place:].split() != after.encode().split():
        raise ValueError(f"expected {after or 'nothing more'} at its end, found {data[place:place + 20]!r}")
    return arrays


def _unpacked(data: bytes, place: int, dimensions: int) -> tuple[np.ndarray, int]:
    """The array that begins at byte `place`, and where it ends."""
    token = data[place:place + 3]
    kind, found = TYPES.get(token, ("", 0))
    if found != dimensions:
        expected = " or ".join(repr(token) for token, (_, number) in TYPES.items() if number == dimensions)
        raise ValueError(f"expected a {KINDS[dimensions]}, {expected}, at byte {place}, found {token!r}")
    header = struct.unpack_from("<" + "bi" * dimensions, data, place + 3)
    start, shape = place + 3 + 5 * dimensions, header[1::2]
    if set(header[::2]) != {4}:
        raise ValueError(f"expected 4 before each size, found {header[::2]}")
    if min(shape) < 1:
        raise ValueError(f"expected sizes of at least 1, found {min(shape)}")
    size = math.prod(shape) * np.dtype(kind).itemsize
    if size > len(data) - start:
        raise ValueError(f"expected {' x '.join(map(str, shape))} numbers of {np.dtype(kind).itemsize} bytes from byte "
                         f"{start} on, found {len(data) - start} bytes")
    array = np.frombuffer(data, kind, math.prod(shape), start).reshape(shape)
    return array.astype(np.float64), start + size


def _text(data: bytes, dimensions: Sequence[int], before: str, after: str) -> list[np.ndarray]:
    text = data.decode("ascii", "replace")
    outside = [piece.split() for piece in re.split(r"\[[^][]*\]", text)]
    inside = re.findall(r"\[([^][]*)\]", text)
    expected = [before.split(), *[[]] * (len(dimensions) - 1), after.split()]
    if outside != expected:
        layout = " ".join(filter(None, [before, *["[ numbers ]"] * len(dimensions), after]))
        raise ValueError(f"expected {layout}, found {' '.join(text[:40].split())!r}")
    return [_numbers(text, number) for text, number in zip(inside, dimensions, strict=True)]


def _numbers(text: str, dimensions: int) -> np.ndarray:
    rows = [row.split() for row in re.split("[\n;]", text) if row.strip()]
    if dimensions == 1 and len(rows) > 1:
        raise ValueError(f"expected a vector, on one line, found a matrix of {len(rows)} rows")
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"expected rows of {len(rows[0])} numbers, found one of "
                         f"{next(len(row) for row in rows if len(row) != len(rows[0]))}")
    found = np.array([[_number(word) for word in row] for row in rows])
    return found if dimensions == 2 else found.reshape(-1)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"expected a number, found {word!r}") from None
