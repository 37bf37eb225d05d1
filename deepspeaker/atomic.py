"""Files and folders that are written whole or not at all."""

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, overload

from deepspeaker.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a file that cannot grow


@overload
def atomic(path: str | os.PathLike[str], mode: Literal["w"] = "w") -> AbstractContextManager[IO[str]]: ...


@overload
def atomic(path: str | os.PathLike[str], mode: Literal["wb"]) -> AbstractContextManager[IO[bytes]]: ...


@contextmanager
def atomic(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` for writing; when the block ends well, sync it and rename it to `path`.

    If the block raises (on a full disk, for example), the temporary file is removed and `path` stays as it was. The
    error of a full disk has the name of `path`. A device or folder is never replaced. Text is UTF-8.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "is there, but no regular file", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def check_output(path: str | os.PathLike[str]) -> None:
    """UserError where `atomic` could not write `path`; called before any work is spent on what it shall hold."""
    place = Path(path)
    if not place.name or place.exists() and not place.is_file():
        found = ", found a folder" if place.is_dir() and place.name else ""
        raise UserError(f"{os.fspath(path) or repr('')}: expected the name of a file to write{found}")
    if not place.absolute().parent.is_dir():
        raise UserError(f"{os.fspath(path)}: there is no folder {place.absolute().parent}")


def remove_unfinished(path: Path) -> None:
    """Remove what a killed process left of `path`."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        temporary.unlink()


@contextmanager
def replacing(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder beside `directory`, which it replaces as a whole when the block ends well.

    If the block raises, `directory` stays as it was. Leftovers of a killed run are removed.
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
    """Put the old directory back if nothing replaced it, and remove leftovers."""
    if old.exists() and not directory.exists():
        old.rename(directory)
    for leftover in (new, old):
        if leftover.is_symlink():
            leftover.unlink()
        shutil.rmtree(leftover, ignore_errors=True)
