"""Text files with the same number of fields on every line, read in blocks: a million lines in a second.

A block's columns are lists of bytes, because that is how they are read fastest. Ids, of which there are far fewer than
lines, are numbered as they come.
"""

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deepspeaker.command import UserError
from deepspeaker.datadir import BLANKS, undecodable

BLANK = np.isin(np.arange(256), list(BLANKS.encode()))
BLOCK = 1 << 18  # bytes: what is read stays in the processor's cache


def read_columns(path: str | os.PathLike, count: int, expected: str) -> Iterator[tuple[int, list[list[bytes]]]]:
    """(number of its first line, its `count` columns) of each block of lines.

    Raises UserError for a missing file, for bytes that are not UTF-8, and for the first line with more or fewer
    fields; `expected` says in its message what a line is.
    """
    number = 1
    for data in _blocks(path):
        try:
            data.decode()
        except UnicodeDecodeError:
            raise UserError(f"{path}:{undecodable(path)}: not UTF-8 text") from None
        fields = _fields(data)
        if (wrong := np.flatnonzero(fields != count)).size:
            line = data.split(b"\n", wrong[0] + 1)[wrong[0]].decode().rstrip("\r")
            raise UserError(f"{path}:{number + wrong[0]}: expected '{expected}', found {line!r}")
        words = data.split()
        yield number, [words[column::count] for column in range(count)]
        number += len(fields)


def _blocks(path: str | os.PathLike) -> Iterator[bytes]:
    """The file in blocks of whole lines, without a byte-order mark; the last line may lack its end."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(BLOCK).removeprefix(b"\xef\xbb\xbf")
            while data:
                data += file.readline()
                yield data if data.endswith(b"\n") else data + b"\n"
                data = file.read(BLOCK)
    except FileNotFoundError:
        raise UserError(f"no such file {path}") from None


def _fields(data: bytes) -> np.ndarray:
    """Number of fields of each line."""
    raw = np.frombuffer(data, np.uint8)
    blanks = np.flatnonzero(raw <= ord(" "))
    blanks = blanks[BLANK[raw[blanks]]]
    ended = np.cumsum(np.diff(blanks, prepend=-1) > 1)  # fields before each blank
    return np.diff(ended[raw[blanks] == ord("\n")], prepend=0)


class Numbering:
    """Different ids numbered in the order they come."""

    def __init__(self):
        self._numbers: defaultdict[bytes, int] = defaultdict(itertools.count().__next__)

    def numbers(self, column: Sequence[bytes]) -> np.ndarray:
        """The numbers (n,) int32 of a column's ids; new ids get the next ones."""
        return np.fromiter(map(self._numbers.__getitem__, column), np.int32, len(column))

    def ids(self) -> list[str]:
        """The ids, by number."""
        return [name.decode() for name in self._numbers]
