"""Text files with the same number of fields on every line, read in blocks: a million lines in a second.

Ids, of which there are far fewer than lines, become numbers without becoming Python objects line by line: a field is
known by a 64-bit hash of its bytes (two of a million ids share one with a probability below 1e-7).
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.datadir import BLANKS, undecodable
from deepspeaker.errors import UserError

BLANK_BYTES = BLANKS.encode()
BLANK = np.isin(np.arange(256), list(BLANK_BYTES))
BYTES_AT_ONCE = 1 << 18  # few enough to stay in the processor's cache
WORD = 8  # bytes hashed at once
MASKS = np.array([(1 << 8 * n) - 1 for n in range(WORD + 1)], np.uint64)  # the first n bytes of a word
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, with bits everywhere


class Block(NamedTuple):
    """Some lines of a file."""

    number: int  # of the first one
    data: bytes
    starts: np.ndarray  # (lines, fields)
    ends: np.ndarray

    def texts(self, column: int, lines: np.ndarray | slice = slice(None)) -> list[bytes]:
        """The fields of a column, of some lines or all."""
        places = zip(self.starts[lines, column].tolist(), self.ends[lines, column].tolist(), strict=True)
        return [self.data[start:end] for start, end in places]

    def hashes(self, column: int) -> np.ndarray:
        """(lines,) uint64: the same for the same fields."""
        starts, sizes = self.starts[:, column], self.ends[:, column] - self.starts[:, column]
        words = np.ndarray(len(self.data), "<u8", self.data + bytes(WORD), strides=(1,))
        found = _mixed(sizes.astype(np.uint64))
        for done in range(0, sizes.max(), WORD):
            left = np.maximum(sizes - done, 0)
            word = words[np.minimum(starts + done, len(words) - 1)] & MASKS[np.minimum(left, WORD)]
            found = np.where(left > 0, _mixed(found ^ word), found)
        return found


def read_blocks(path: str | os.PathLike[str], fields: int, expected: str) -> Iterator[Block]:
    """The lines of a file, in blocks, without blank lines at its end.

    Raises UserError for a missing file, for bytes that are not UTF-8, and for the first line with more or fewer
    fields; `expected` describes a line in its message.
    """
    number = 1
    for data in _pieces(path):
        try:
            data.decode()
        except UnicodeDecodeError:
            raise UserError(f"{path}:{undecodable(path)}: not UTF-8 text") from None
        starts, ends, counts = _split(data)
        if (wrong := np.flatnonzero(counts != fields)).size:
            line = data.split(b"\n", wrong[0] + 1)[wrong[0]].decode().rstrip("\r")
            raise UserError(f"{path}:{number + wrong[0]}: expected '{expected}', found {line!r}")
        yield Block(number, data, starts.reshape(-1, fields), ends.reshape(-1, fields))
        number += len(counts)


def _pieces(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """The file in pieces of whole lines, without a byte-order mark and blank lines at its end; the last line may lack
    its end. No piece ends in a blank line."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(BYTES_AT_ONCE).removeprefix(b"\xef\xbb\xbf")
            while data:
                data += file.readline()
                while not data[data.rfind(b"\n", 0, -1) + 1:].strip(BLANK_BYTES) and (line := file.readline()):
                    data += line
                if filled := data.rstrip(BLANK_BYTES):
                    yield filled + b"\n"
                data = file.read(BYTES_AT_ONCE)
    except FileNotFoundError:
        raise UserError(f"no such file {path}") from None


def _split(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(starts, ends of all fields, number of fields of each line)."""
    raw = np.frombuffer(data, np.uint8)
    blanks = np.flatnonzero(raw <= ord(" "))
    blanks = blanks[BLANK[raw[blanks]]]
    before = np.append(-1, blanks[:-1])
    ending = blanks - before > 1  # a field ends at this blank
    counts = np.diff(np.cumsum(ending)[raw[blanks] == ord("\n")], prepend=0)
    return before[ending] + 1, blanks[ending], counts


def _mixed(values: np.ndarray) -> np.ndarray:
    """Mixed bits of values (uint64), one to one; each bit depends on all lower ones and those 32 above."""
    values = values * MULTIPLIER
    values = values ^ values >> np.uint64(32)
    return values


class Numbering:
    """Different ids numbered in the order they come."""

    def __init__(self, ids: Iterable[str] = ()):
        self.ids: list[str] = []
        self._hashes = np.zeros(1, np.uint64)  # those of all ids, sorted; 0, of no id
        self._numbers = np.array([-1], np.int32)
        if data := "".join(f"{name}\n" for name in ids).encode():
            starts, ends, _ = _split(data)
            self.numbers(Block(1, data, starts[:, None], ends[:, None]), 0)

    def numbers(self, block: Block, column: int) -> np.ndarray:
        """The numbers (lines,) int32 of a column's ids; new ids get the next ones."""
        hashes = block.hashes(column)
        numbers = self._find(hashes)
        if (new := np.flatnonzero(numbers < 0)).size:
            first = new[np.sort(np.unique(hashes[new], return_index=True)[1])]
            self._add(hashes[first], [name.decode() for name in block.texts(column, first)])
            numbers = self._find(hashes)
        return numbers

    def known(self, block: Block, column: int) -> np.ndarray:
        """The numbers (lines,) int32 of a column's ids, -1 of those that have none."""
        return self._find(block.hashes(column))

    def _find(self, hashes: np.ndarray) -> np.ndarray:
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        return np.where(self._hashes[place] == hashes, self._numbers[place], np.int32(-1))

    def _add(self, hashes: np.ndarray, ids: list[str]) -> None:
        numbers = np.arange(len(self.ids), len(self.ids) + len(ids), dtype=np.int32)
        every = np.append(self._hashes, hashes)
        order = np.argsort(every)
        self._hashes, self._numbers = every[order], np.append(self._numbers, numbers)[order]
        self.ids += ids
