"""Embeddings of many files: computed by several threads, written as .npy or as Kaldi's .scp and .ark."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from deepspeaker.atomic import atomic
from deepspeaker.datadir.archive import write_vectors
from deepspeaker.errors import UserError
from deepspeaker.inference.model import Model

GROUP_FILES, GROUP_BYTES = 16, 4_000_000  # most that a thread takes at once; a larger file is a group of its own


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
    for i in sorted(range(len(files)), key=lambda i: -size[i]):
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


def check_output(path: Path, files: Sequence[str]) -> None:
    """UserError, before any work is done, if write_embeddings could not write to `path`."""
    if path.suffix not in (".npy", ".scp"):
        raise UserError(f"{path}: expected a name that ends in .npy or .scp")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise UserError(f"{path} is a folder")
    if path.suffix == ".scp":
        ids(files)
        if not str(path.absolute()).isprintable():
            raise UserError(f"{path}: the name has characters that an .scp file cannot hold; choose another name")


def write_embeddings(path: Path, files: Sequence[str], embeddings: dict[int, np.ndarray]) -> None:
    """Write to .npy, (files, E) float32 with NaN in the rows of files that failed, or to .scp with its .ark beside it.

    embeddings: position in `files` -> embedding (E,).
    """
    if path.suffix == ".npy":
        rows = np.full((len(files), len(next(iter(embeddings.values())))), np.nan, np.float32)
        for i, embedding in embeddings.items():
            rows[i] = embedding
        with atomic(path, "wb") as file:
            np.save(file, rows)
    else:
        names = ids(files)
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
