"""Embeddings of many files, named one by one or in a list: computed by several threads, written as .npy or as Kaldi's
.scp and .ark."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from deepspeaker.atomic import atomic, check_output
from deepspeaker.datadir.archive import write_vectors
from deepspeaker.datadir.tables import read_bytes, split_lines
from deepspeaker.errors import UserError
from deepspeaker.inference.model import Model

GROUP_FILES, GROUP_BYTES = 16, 4_000_000  # most that a thread takes at once; a larger file is a group of its own


def read_list(path: str) -> list[str]:
    """The files that a text file names, one a line; "-" is standard input.

    UserError for a missing file, for one that is not UTF-8 text, and for one without names.
    """
    return [name for _, (name,) in _rows(path, 1)]


def read_scp(path: str) -> dict[str, str]:
    """Id -> file, from lines `ID PATH` of a text file as Kaldi's wav.scp; "-" is standard input.

    UserError as read_list, for a line without a path, and for an id that comes twice.
    """
    found: dict[str, str] = {}
    for place, row in _rows(path, 2):
        if len(row) < 2:
            raise UserError(f"{place}: expected 'ID PATH', found {row[0]!r}: --list takes files without ids")
        if row[0] in found:
            raise UserError(f"{place}: {row[0]} stands here for the second time: give each file an id of its own")
        found[row[0]] = row[1]
    return found


def _rows(path: str, most: int) -> list[tuple[str, list[str]]]:
    """(place for messages, at most `most` fields) of each line that is not blank."""
    content, name = read_bytes(path)
    found = []
    for number, line in enumerate(split_lines(content), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise UserError(f"{name}:{number}: not UTF-8 text: expected a list of sound files; a sound file itself is "
                            "given without --list or --scp")
        row = text.strip().split(None, most - 1)
        if row:
            found.append((f"{name}:{number}", row))
    if not found:
        raise UserError(f"{name}: expected a list of sound files, found nothing")
    return found


def embed_all(model: Model, files: Sequence[str], any_sound: bool = False,
              channel: int | None = None) -> Iterator[tuple[int, np.ndarray | UserError]]:
    """(position in `files`, embedding (E,) or the file's error), in the order in which they are finished.

    any_sound, channel: as in Model.embed_files.

    One thread per core takes groups of files of similar size, the largest first, so that no thread is left with long
    files at the end.
    """
    workers = torch.get_num_threads()
    size = [os.path.getsize(file) if os.path.isfile(file) else 0 for file in files]
    groups: list[list[int]] = []
    for i in sorted(range(len(files)), key=lambda i: (-size[i], i)):
        if groups and len(groups[-1]) < GROUP_FILES and size[i] + sum(size[j] for j in groups[-1]) < GROUP_BYTES:
            groups[-1].append(i)
        else:
            groups.append([i])

    def work(which: list[int]) -> list[tuple[int, np.ndarray | UserError]]:
        return list(zip(which, model.embed_files([files[i] for i in which], any_sound, channel), strict=True))

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for found in pool.map(work, groups):
                yield from found
    finally:
        torch.set_num_threads(workers)


def check_name(path: Path) -> None:
    """UserError, before any work is done, if write_embeddings could not write to `path`."""
    if path.suffix not in (".npy", ".scp"):
        raise UserError(f"{path}: expected a name that ends in .npy or .scp")
    check_output(path)
    if path.suffix == ".scp" and not str(path.absolute()).isprintable():
        raise UserError(f"{path}: the name has characters that an .scp file cannot hold; choose another name")


def write_embeddings(path: Path, names: Sequence[str], embeddings: dict[int, np.ndarray]) -> None:
    """Write to .npy, (names, E) float32 with NaN in the rows of files that failed, or to .scp with its .ark beside it.

    names: the ids of an .scp. embeddings: position in `names` -> embedding (E,).
    """
    if path.suffix == ".npy":
        rows = np.full((len(names), len(next(iter(embeddings.values())))), np.nan, np.float32)
        for i, embedding in embeddings.items():
            rows[i] = embedding
        with atomic(path, "wb") as file:
            np.save(file, rows)
    else:
        write_vectors(path.with_suffix(""), {names[i]: embedding for i, embedding in embeddings.items()})


def ids(files: Sequence[str]) -> list[str]:
    """An id without blanks for each file: its name without extension or, if two names are equal, its path.

    UserError if two paths are equal as well, or a name has only blanks.
    """
    for found in ([Path(file).stem for file in files], list(files)):
        found = ["_".join(name.split()) for name in found]
        if all(found) and len(set(found)) == len(found):
            return found
    raise UserError("an archive needs an id for each file: a file is given twice, or its name has only blanks")
