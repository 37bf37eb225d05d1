"""Many files at once: embeddings by several threads, and how they are written."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from deepspeaker.archive import write_vectors
from deepspeaker.command import UserError
from deepspeaker.files import atomic
from deepspeaker.model import Model


def embed_all(model: Model, files: Sequence[str]) -> Iterator[tuple[int, np.ndarray | UserError]]:
    """(position in `files`, its embedding (E,) or what is wrong with it), in the order in which they are done.

    A thread for each core takes one file after the other, the largest first: so none waits at the end for another's
    long file. The network sees each utterance alone, as in stage 5, for padding would change its embedding.
    """
    workers = torch.get_num_threads()
    order = sorted(range(len(files)), key=lambda i: -os.path.getsize(files[i]) if os.path.isfile(files[i]) else 0)

    def work(i: int) -> tuple[int, np.ndarray | UserError]:
        try:
            return i, model.embed_file(files[i])
        except (UserError, OSError) as error:
            return i, error if isinstance(error, UserError) else UserError(f"{files[i]}: {error}")

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, order)
    finally:
        torch.set_num_threads(workers)


def check_output(path: Path) -> None:
    """UserError for a name that write_embeddings does not know, before any work is done."""
    if path.suffix not in (".npy", ".scp"):
        raise UserError(f"{path}: expected a name that ends in .npy or .scp")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.absolute().parent}")


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
    """Kaldi's ids of files: their names without extension where these differ, else the paths; no blanks."""
    for found in ([Path(file).stem for file in files], list(files)):
        found = ["_".join(name.split()) for name in found]
        if len(set(found)) == len(found):
            return found
    raise UserError("the same file is given twice: an archive needs an id for each")
