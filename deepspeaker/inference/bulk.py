"""Many files at once: embeddings by several threads, and how they are written."""

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

TOGETHER = 16, 4_000_000  # files that a thread takes at once, and their bytes: a lone one may have more


def embed_all(model: Model, files: Sequence[str],
              any_sound: bool = False) -> Iterator[tuple[int, np.ndarray | UserError]]:
    """(position in `files`, its embedding (E,) or what is wrong with it), in the order in which they are done;
    `any_sound` as Model.embed_files has it.

    A thread for each core takes a few files of similar size after the other, the largest first: so none waits at the
    end for another's long files.
    """
    workers = torch.get_num_threads()
    size = [os.path.getsize(file) if os.path.isfile(file) else 0 for file in files]
    groups: list[list[int]] = []
    for i in sorted(range(len(files)), key=lambda i: -size[i]):
        if groups and len(groups[-1]) < TOGETHER[0] and size[i] + sum(size[j] for j in groups[-1]) < TOGETHER[1]:
            groups[-1].append(i)
        else:
            groups.append([i])

    def work(which: list[int]) -> list[tuple[int, np.ndarray | UserError]]:
        return list(zip(which, model.embed_files([files[i] for i in which], any_sound), strict=True))

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for found in pool.map(work, groups):
                yield from found
    finally:
        torch.set_num_threads(workers)


def check_output(path: Path, files: Sequence[str]) -> None:
    """UserError for what write_embeddings cannot write, before any work is done."""
    if path.suffix not in (".npy", ".scp"):
        raise UserError(f"{path}: expected a name that ends in .npy or .scp")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise UserError(f"{path} is a folder")
    if path.suffix == ".scp":
        ids(files)
        if not str(path.absolute()).isprintable():
            raise UserError(f"{path}: a line of an .scp cannot hold this name")


def write_embeddings(path: Path, files: Sequence[str], embeddings: dict[int, np.ndarray]) -> None:
    """.npy: (files, E) float32, a row of NaN for a file without embedding; .scp: with an .ark beside it, for Kaldi."""
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
    """Kaldi's ids of files: their names without extension where these differ, else the paths; no blanks. UserError."""
    for found in ([Path(file).stem for file in files], list(files)):
        found = ["_".join(name.split()) for name in found]
        if all(found) and len(set(found)) == len(found):
            return found
    raise UserError("an archive needs an id for each file: these have names of blanks alone, or are the same twice")
