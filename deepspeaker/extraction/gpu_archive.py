"""Archives on a GPU: stored values are decompressed there, and windows cut from archives that lie in its memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from deepspeaker.datadir.archive import MatrixTable, contiguous
from deepspeaker.datadir.sound_archive import FULL_SCALE, Pieces, SoundTable
from deepspeaker.gpu import upload

SIGNED = {"<u2": np.int16, "u1": np.uint8, "<f4": np.float32}  # torch has few operations on uint16
BYTES_AT_ONCE = 1 << 26  # copied to the device


class Resident:
    """All matrices of a table on a device, as they are stored. They must be of one type and width."""

    def __init__(self, table: MatrixTable, device: torch.device):
        layout = table.layout(np.arange(len(table.keys)))
        kind, cols = str(layout["type"][0]), int(layout["cols"][0])
        ends = np.cumsum(layout["rows"], dtype=np.int64)
        self._first = torch.from_numpy(ends - layout["rows"]).to(device)
        self._minimum, self._step = (torch.from_numpy(layout[name].copy()).to(device) for name in ("minimum", "step"))
        self._stored = torch.empty(int(ends[-1]), cols, dtype=as_tensor(np.empty(0, kind)).dtype, device=device)
        done = 0
        for rows in _joined(table.stored_matrices(layout), max(1, BYTES_AT_ONCE // _row_bytes(layout))):
            self._stored[done:done + len(rows)] = as_tensor(rows).to(device)
            done += len(rows)

    def gather(self, which: np.ndarray, index: Sequence[slice | np.ndarray]) -> Tensor:
        """Windows (n, T, F) float32 on the device, as MatrixTable.gather gives them."""
        places = np.stack([np.arange(i.start, i.stop) if isinstance(i, slice) else i for i in index])
        matrix, rows = upload((torch.from_numpy(which), torch.from_numpy(places)), self._stored.device)
        stored = self._stored[rows + self._first[matrix, None]]
        return decompress(stored, self._minimum[matrix, None, None], self._step[matrix, None, None])


class ResidentSound:
    """All sounds of some tables on a device, 16 bits a sample."""

    def __init__(self, tables: Mapping[str, SoundTable], device: torch.device):
        lengths = np.concatenate([table.lengths(np.arange(len(table.keys))) for table in tables.values()])
        ends = np.cumsum(lengths, dtype=np.int64)
        self._first, self._lengths = (torch.from_numpy(values).to(device)
                                       for values in (ends - lengths, lengths.astype(np.int32)))
        self._before = dict(zip(tables, accumulate((len(table.keys) for table in tables.values()), initial=0),
                                strict=False))  # sounds of the tables before it
        self._samples = torch.empty(int(ends[-1]), dtype=torch.int16, device=device)
        sounds, done = (table.samples(i) for table in tables.values() for i in range(len(table.keys))), 0
        for some in _joined(sounds, BYTES_AT_ONCE // 2):
            self._samples[done:done + len(some)] = torch.from_numpy(some).to(device)
            done += len(some)

    def cut(self, wanted: Mapping[str, Pieces], width: int) -> Tensor:
        """The pieces of each table, row below row: (n, width) float32 within -1..1 on the device, zero behind the last
        piece of each row."""
        device, most = self._samples.device, max(pieces.size.shape[1] for pieces in wanted.values())
        sound = np.concatenate([pieces.which + self._before[kind] for kind, pieces in wanted.items()])
        begin, size = np.zeros((2, len(sound), most), np.int64)
        row = 0
        for pieces in wanted.values():
            rows, columns = slice(row, row := row + len(pieces.which)), slice(pieces.size.shape[1])
            begin[rows, columns], size[rows, columns] = pieces.begin, pieces.size
        ends = np.cumsum(size, 1)
        # shifts: from a place in the row to one in the sound
        numbers = np.concatenate([sound[:, None], ends, begin - (ends - size)], 1).astype(np.int32)
        which, last, shift = upload(torch.from_numpy(numbers), device).split([1, most, most], dim=1)
        place = torch.arange(width, device=device, dtype=torch.int32).expand(len(sound), -1)
        if most > 1:
            piece = torch.searchsorted(last.contiguous(), place.contiguous(), right=True).clamp_max_(most - 1)
            shift = shift.gather(1, piece)
        length = self._lengths[which]
        there = (place + shift).remainder_(2 * length)
        there = torch.minimum(there, 2 * length - 1 - there)
        samples = self._samples[there + self._first[which]] * (1 / FULL_SCALE)
        return samples.masked_fill_(place >= last[:, -1:], 0.0)


def as_tensor(stored: np.ndarray) -> Tensor:
    """Stored values, of a type in SIGNED, as a tensor; 16 bits become a signed type."""
    return torch.from_numpy(stored.view(SIGNED[stored.dtype.str.lstrip("|")]))


def decompress(stored: Tensor, minimum: Tensor, step: Tensor) -> Tensor:
    """What as_tensor gave -> float32 values, minimum + step * stored; floats stay as they are."""
    if stored.is_floating_point():
        return stored
    values = (stored.int() & 0xFFFF if stored.dtype == torch.int16 else stored).float()
    values *= step
    values += minimum
    return values


def resident_bytes(table: MatrixTable) -> int | None:
    """Size of a table as it is stored; None where Resident cannot hold it (several types or widths, or type CM)."""
    layout = table.layout(np.arange(len(table.keys)))
    if not contiguous(layout) or layout["type"][0] not in SIGNED:
        return None
    return int(layout["rows"].sum(dtype=np.int64)) * _row_bytes(layout)


def _row_bytes(layout: np.ndarray) -> int:
    return int(layout["cols"][0]) * np.dtype(str(layout["type"][0])).itemsize


def _joined(parts: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """The parts one after another, in pieces of at least `rows` rows; the last may be shorter."""
    waiting, count = [], 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        if count >= rows:
            yield np.concatenate(waiting)
            waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting)
