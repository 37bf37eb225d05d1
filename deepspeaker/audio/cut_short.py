"""Sound files that were cut short, told by the lengths in their headers.

Decoders read such files as far as they go and say nothing. Told are the kinds that state how many bytes they have: WAV
(also RIFX, RF64 and W64), AIFF, CAF, AU, SPHERE, AVI, WMA, Matroska and WebM, and MP3 with a Xing header.
"""

import re
import struct
from typing import BinaryIO, NamedTuple

from deepspeaker.audio.content import FROM_HERE
from deepspeaker.audio.decoding import Truncated

W64_CHUNK = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # end of the name of every chunk of W64
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")  # name of the object with the packets of ASF, as in WMA
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")  # elements of Matroska
XING = re.compile(rb"(?:Xing|Info)(.{12})", re.DOTALL)
XING_WITHIN = 200  # bytes from the beginning of the first frame
HAS_FRAMES, HAS_BYTES = 1, 2  # flags of a Xing header


class Chunked(NamedTuple):
    """How a file of chunks is laid out."""

    first: int  # place of the first chunk
    head: str  # struct of a chunk's name and length
    samples: bytes  # name of the chunk with the samples
    even: int  # chunks begin at multiples of this
    counts_head: bool = False  # whether a length counts the chunk's name and length, too


CHUNKED = {
    b"RIFF": Chunked(12, "<4sI", b"data", 2),
    b"RIFX": Chunked(12, ">4sI", b"data", 2),
    b"RF64": Chunked(12, "<4sI", b"data", 2),
    b"FORM": Chunked(12, ">4sI", b"SSND", 2),
    b"\x30\x26\xb2\x75": Chunked(0, "<16sQ", ASF_DATA, 1, counts_head=True),
    b"caff": Chunked(8, ">4sq", b"data", 1),
    b"riff": Chunked(40, "<16sQ", b"data" + W64_CHUNK, 8, counts_head=True),
}


def refuse_cut_short(file: BinaryIO, name: str) -> None:
    """Raise Truncated for a file that has fewer bytes than its header states. name: for the message."""
    size = file.seek(0, 2)
    file.seek(0)
    begin = file.read(1024)
    if begin[:4] == b"RIFF" and begin[8:12] == b"AVI ":
        stated, found = struct.unpack("<I", begin[4:8])[0], size - 8
        stated = stated if stated < FROM_HERE else 0
    elif begin[:4] in CHUNKED:
        stated, found = _chunk(file, size, begin, CHUNKED[begin[:4]])
    elif begin[:4] == b".snd":
        place, stated = struct.unpack(">II", begin[4:12].ljust(8, b"\0"))
        stated, found = (0, 0) if stated >= FROM_HERE else (stated, size - place)
    elif begin[:7] == b"NIST_1A":
        stated, found = _sphere(begin, size)
    elif begin[:4] == EBML:
        stated, found = _segment(begin, size)
    else:
        stated, found = _xing(file, size, begin)
    if found < stated:
        raise Truncated(f"{name} is truncated: its header announces {stated} bytes of samples, "
                        f"{max(0, found)} are there")


def _chunk(file: BinaryIO, size: int, begin: bytes, kind: Chunked) -> tuple[int, int]:
    """(bytes of samples stated, bytes there) of a file of chunks; (0, 0) where the length is unknown."""
    place, in_ds64 = kind.first, 0
    head = struct.Struct(kind.head)
    while place + head.size <= size:
        file.seek(place)
        name, length = head.unpack(file.read(head.size))
        place += head.size
        length -= head.size if kind.counts_head else 0
        if name == b"ds64":
            in_ds64 = int.from_bytes(file.read(16)[8:], "little")
        if name == kind.samples:
            if begin[:4] == b"RF64" and length == 0xFFFFFFFF:
                length = in_ds64
            elif head.size == 8 and length >= FROM_HERE and place + length > size:
                length = 0
            return max(0, length), size - place
        if length < 0 or not kind.counts_head and not all(32 <= byte < 127 for byte in name):
            break
        place += -(-length // kind.even) * kind.even
    return 0, 0


def _sphere(begin: bytes, size: int) -> tuple[int, int]:
    """As _chunk, of SPHERE. One whose samples are compressed states nothing about its bytes."""
    numbers = {key: int(value) for key, value in re.findall(rb"(\w+) -(?:i|s[0-9]+) ([0-9]{1,15})\s", begin)}
    coding = re.search(rb"sample_coding -s[0-9]+ (\S+)", begin)
    if coding and b"," in coding[1]:
        return 0, 0
    try:
        stated = numbers[b"sample_count"] * numbers[b"channel_count"] * numbers[b"sample_n_bytes"]
        return stated, size - int(begin[8:16])
    except (KeyError, ValueError):
        return 0, 0


def _segment(begin: bytes, size: int) -> tuple[int, int]:
    """As _chunk, of Matroska: its segment holds all but a header."""
    place = 4
    length, place = _vint(begin, place)
    place += length
    if begin[place:place + 4] != SEGMENT:
        return 0, 0
    length, place = _vint(begin, place + 4)
    return length, size - place


def _vint(data: bytes, place: int) -> tuple[int, int]:
    """A number of EBML and the place behind it; 0 for one that means "unknown" (all bits set) or is not there."""
    count = 9 - data[place].bit_length() if place < len(data) else 9
    value = int.from_bytes(data[place:place + count]) & ((1 << 7 * count) - 1)
    return (0 if count > 8 or value == (1 << 7 * count) - 1 else value), place + count


def _xing(file: BinaryIO, size: int, begin: bytes) -> tuple[int, int]:
    """As _chunk, of MP3: the Xing header counts all bytes from its own frame on."""
    place = 0
    if begin[:3] == b"ID3" and len(begin) >= 10:
        place = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(begin[6:10], (21, 14, 7, 0), strict=True))
        file.seek(place)
        begin = file.read(XING_WITHIN)
    found = XING.search(begin[:XING_WITHIN]) if begin[:1] == b"\xff" else None
    if not found:
        return 0, 0
    flags, *numbers = struct.unpack(">III", found[1])
    if not flags & HAS_BYTES:
        return 0, 0
    return numbers[1 if flags & HAS_FRAMES else 0], size - place
