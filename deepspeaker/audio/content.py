"""What an entry of wav.scp or a user's file holds: the bytes of one sound, whatever its name is.

An entry is a path, a command whose output is a sound file (`cmd |`), or a place in an archive (`FILE.ark:OFFSET`), as
Kaldi's wav-copy and kaldiio write them.
"""

import io
import mmap
import os
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, cast

from deepspeaker.audio.commands import PIPE_TIMEOUT, pipe_output
from deepspeaker.errors import UserError

PLACE = re.compile(r"(.+):([0-9]+)")  # of an archive
KALDIIO = b"AUDIO"  # before the length, in one byte its size, and the sound file
FROM_HERE = 0x7FFF0000  # a RIFF length from here on means "unknown" if the file is shorter, as 0 does


@dataclass(frozen=True)
class Content:
    """The bytes of one sound file.

    name: for messages; source: its path, or the bytes themselves.
    """

    name: str
    source: str | bytes

    def open(self) -> BinaryIO:
        """A file without a buffer, whose descriptor libsndfile may share, or one in memory."""
        if isinstance(self.source, bytes):
            return _Bytes(self.source)
        return cast(BinaryIO, open(self.source, "rb", buffering=0))

    @property
    def size(self) -> int:
        return os.stat(self.source).st_size if isinstance(self.source, str) else len(self.source)


class _Bytes(io.BytesIO):
    """A file in memory that stays where it is when it is to go before its beginning, as damaged files ask. An exception
    would be printed, for C called this."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def is_command(entry: str) -> bool:
    return entry.endswith("|")


def is_file(entry: str) -> bool:
    """Whether an entry is the path of a sound file, which may or may not be there."""
    return not is_command(entry) and not place_in_archive(entry)


def place_in_archive(entry: str) -> tuple[str, int] | None:
    """(archive, offset) of an entry `FILE.ark:OFFSET` whose archive is there; None for all others, and for a file of
    such a name."""
    found = PLACE.fullmatch(entry)
    if not found or is_command(entry) or os.path.exists(entry) or not os.path.exists(found[1]):
        return None
    return found[1], int(found[2])


def content_of(entry: str, pipe_timeout: float = PIPE_TIMEOUT) -> Content:
    """The sound of an entry. Raises UserError for a command that fails and where there is nothing, and OSError."""
    if "\0" in entry:
        raise UserError(f"{entry!r}: expected the name of a file, found a zero byte in it")
    content = Content(entry, entry)
    if is_command(entry):
        content = Content(f"the output of {entry!r}", pipe_output(entry, pipe_timeout))
    elif place := place_in_archive(entry):
        content = Content(entry, _archived(*place))
    if content.size == 0:
        raise UserError(f"{content.name} is empty")
    return content


@lru_cache(maxsize=1)  # the segments of one recording follow each other
def _archived(path: str, offset: int) -> bytes:
    """The sound file that begins at an offset of an archive, which is mapped."""
    name = f"{path}:{offset}"
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if offset >= size:
            raise UserError(f"{name}: the archive has only {size} bytes: make its wav.scp again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as archive:
            begin = archive[offset:offset + 16]
            if begin.startswith(KALDIIO) and len(begin) > len(KALDIIO):
                offset += len(KALDIIO) + 1 + begin[5]
                end = offset + int.from_bytes(begin[6:6 + begin[5]], "little")
            elif begin.startswith(b"RIFF"):
                length = struct.unpack("<I", begin[4:8].ljust(4, b"\0"))[0]
                if length == 0 or length >= FROM_HERE:
                    raise UserError(f"{name}: a WAV of unknown length in an archive: write the archive with wav-copy")
                end = offset + 8 + length
            else:
                raise UserError(f"{name}: expected a WAV file, or what kaldiio writes as a sound, at this place of the "
                                f"archive, found {begin!r}")
            if end > size:
                raise UserError(f"{name}: the archive ends {end - size} bytes before the end of this sound: it was "
                                "cut short")
            return archive[offset:end]
