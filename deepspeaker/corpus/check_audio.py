"""The sound files of data directories: whether each can be used, and which have the same content."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from deepspeaker.audio import SAMPLE_RATE
from deepspeaker.audio.content import content_of, place_in_archive
from deepspeaker.audio.decoding import Header, Truncated
from deepspeaker.audio.reading import header_of
from deepspeaker.errors import UserError

T = TypeVar("T")
FILES_AT_ONCE = 64  # handed to a thread
MIDDLE_BYTES = 1 << 12  # read from a file's middle: enough to distinguish most files of one size


class Checked(NamedTuple):
    """The result of checking one sound file."""

    header: Header | None  # None: it cannot be used
    problem: str = ""  # kind of finding
    detail: str = ""
    size: int = 0  # bytes
    inode: tuple[int, ...] = ()  # device, number and place: equal for hard links to one file


def check_file(entry: str) -> Checked:
    """Open one sound of wav.scp, in a file or an archive, and read its header."""
    try:
        content = content_of(entry)
        header = header_of(content)
        archive, *place = place_in_archive(entry) or (entry,)
        status = os.stat(archive)
    except FileNotFoundError:
        return Checked(None, "missing", entry)
    except Truncated as error:
        return Checked(None, "truncated", str(error))
    except (UserError, OSError) as error:
        return Checked(None, "unreadable", str(error))
    return Checked(header, size=content.size, inode=(status.st_dev, status.st_ino, *place))


def oddities(header: Header) -> Iterator[tuple[str, str]]:
    """(kind of finding, detail) of a file whose rate or channels will be converted."""
    if header.rate != SAMPLE_RATE:
        yield "rate", f"{header.rate} Hz"
    if header.channels > 1:
        yield "channels", f"{header.channels} channels"


def parallel(function: Callable[[str], T], paths: Sequence[str], jobs: int, title: str) -> dict[str, T]:
    """path -> function(path), in `jobs` threads (libsndfile and hashlib let go of Python), with a bar on a terminal."""
    chunks = [paths[start:start + FILES_AT_ONCE] for start in range(0, len(paths), FILES_AT_ONCE)]
    found: dict[str, T] = {}
    pool = ThreadPoolExecutor(jobs)
    try:
        with tqdm(total=len(paths), desc=title, unit="file", disable=None, dynamic_ncols=True) as bar:
            for chunk, results in zip(chunks, pool.map(lambda chunk: [*map(function, chunk)], chunks), strict=True):
                found.update(zip(chunk, results, strict=True))
                bar.update(len(chunk))
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def same_content(checked: dict[str, Checked], jobs: int) -> dict[str, str]:
    """Path -> the first path with the same content (itself, mostly), of the files that can be used.

    Hard links to one file are recognised by their inode. Of the others, only files of equal size are read: a block from
    the middle, and the whole file where the blocks are equal.
    """
    first: dict[tuple[int, ...], str] = {}
    for path in sorted(path for path, result in checked.items() if result.header):
        first.setdefault(checked[path].inode, path)
    groups = repeated([sorted(first.values())], lambda path: checked[path].size)
    middles = parallel(middle, [path for group in groups for path in group], jobs, "hash middles")
    groups = repeated(groups, middles.get)
    wholes = parallel(whole, [path for group in groups for path in group], jobs, "hash files")
    original = {path: group[0] for group in repeated(groups, wholes.get) for path in group}
    return {path: original.get(first[result.inode], first[result.inode])
            for path, result in checked.items() if result.header}


def repeated(groups: Iterable[Sequence[str]], key: Callable[[str], object]) -> list[list[str]]:
    """The groups divided by key; those of a single path are left out."""
    divided: dict[tuple[int, object], list[str]] = {}
    for number, group in enumerate(groups):
        for path in group:
            divided.setdefault((number, key(path)), []).append(path)
    return [group for group in divided.values() if len(group) > 1]


def middle(entry: str) -> bytes:
    """A block of a sound file's middle: silence and headers at the start are the same in many files."""
    content = content_of(entry)
    with content.open() as file:
        file.seek(max(0, content.size // 2 - MIDDLE_BYTES // 2))
        return hashlib.blake2b(file.read(MIDDLE_BYTES), digest_size=16).digest()


def whole(entry: str) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    with content_of(entry).open() as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.digest()
