"""Files that are either whole or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Open `path` for writing under a temporary name beside it; sync and rename when the block ends well.

    When the block raises (a full disk among others) the temporary file is removed and whatever stood at `path`
    stays as it was. Text is UTF-8.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing(directory: str | os.PathLike) -> Iterator[Path]:
    """An empty folder beside `directory` that takes its place, as a whole, when the block ends well.

    When the block raises, whatever stood at `directory` stays as it was; what a killed run left is removed.
    """
    directory = Path(directory)
    new, old = (directory.with_name(f".{directory.name}.{end}") for end in ("new", "old"))
    _tidy(directory, new, old)
    new.mkdir(parents=True)
    try:
        yield new
        if directory.exists():
            directory.rename(old)
        new.rename(directory)
    finally:
        _tidy(directory, new, old)


def _tidy(directory: Path, new: Path, old: Path) -> None:
    """Put the old directory back if nothing took its place, and remove what is left over."""
    if old.exists() and not directory.exists():
        old.rename(directory)
    for leftover in (new, old):
        if leftover.is_symlink():
            leftover.unlink()
        shutil.rmtree(leftover, ignore_errors=True)
