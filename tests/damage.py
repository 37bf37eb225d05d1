"""Sound files damaged at random and read: python3 tests/damage.py FOLDER FIRST LAST [NAME...].

Each file of FOLDER (or those named) is damaged in the ways FIRST to LAST - 1; the same number is the same damage each
time. A line names each before it is read, so that the last one is told if a decoder ends this process. Status 1 and
lines that begin with FAULT if anything but samples, UserError or OSError comes of it.
"""

import os
import resource
import signal
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

MEMORY = 4 << 30  # bytes of addresses that this process may have
RESIDENT = 1 << 20  # KiB of memory that it may use: 100 MiB are usual
SLOW = 10  # seconds for one file; a good one takes milliseconds
LONGEST = 150.0  # seconds of sound, of files that had 1.5
LEAST_BYTES = 40  # a second of AMR's silence


def damage(rng: np.random.Generator, data: bytes, other: bytes) -> tuple[bytes, str]:
    """The data damaged once to three times, and in words how. other: a file whose parts may come in."""
    words = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data, how = _once(rng, data, other)
        words.append(how)
    return data, ", ".join(words)


def _once(rng: np.random.Generator, data: bytes, other: bytes) -> tuple[bytes, str]:
    place, from_place = _place(rng, len(data)), _place(rng, len(data))
    size, width = int(2 ** rng.uniform(0, 12)), int(rng.choice([1, 2, 4, 8]))
    before, after = data[:place], data[place + size:]
    order = "little" if rng.integers(2) else "big"
    ways: list[Callable[[], tuple[bytes, str]]] = [
        lambda: _flip(rng, data),
        lambda: (before, f"cut at {place}"),
        lambda: (before + bytes(size) + after, f"{size} zeros at {place}"),
        lambda: (before + b"\xff" * size + after, f"{size} bytes of ff at {place}"),
        lambda: (before + rng.bytes(size) + data[place:], f"{size} bytes put in at {place}"),
        lambda: (before + after, f"{size} bytes taken out at {place}"),
        lambda: (before + data[from_place:from_place + size] + data[place:],
                 f"{size} bytes of {from_place} put in at {place}"),
        lambda: (before + other[from_place:], f"another file from {place} on"),
        *3 * [lambda: _number(rng, data, place, width, order)],
    ]
    return ways[rng.integers(len(ways))]()


def _place(rng: np.random.Generator, size: int) -> int:
    """A place in so many bytes, often near the beginning or the end, where headers and indexes are."""
    near = min(size, int(rng.choice([256, 2048, size])))
    place = int(rng.integers(max(1, near)))
    return max(0, size - 1 - place) if rng.random() < 0.25 else place


def _flip(rng: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    flipped, count = bytearray(data), int(rng.integers(1, 20))
    for place in [_place(rng, len(data)) for _ in range(count)] if data else []:
        flipped[place] ^= 1 << int(rng.integers(8))
    return bytes(flipped), f"{count} bits flipped"


def _number(rng: np.random.Generator, data: bytes, place: int, width: int, order: str) -> tuple[bytes, str]:
    """A number of 1 to 8 bytes set to an extreme one, or made somewhat or much larger."""
    top, old = (1 << 8 * width) - 1, int.from_bytes(data[place:place + width], order)
    new = int(rng.choice(np.array([0, 1, top, top - 1, top >> 1, (top >> 1) + 1, top >> 2, old + 1, old * 2, old << 8],
                                  dtype=object))) & top
    return data[:place] + new.to_bytes(width, order) + data[place + width:], f"{new:#x} in {width} bytes at {place}"


def main(folder: Path, first: int, last: int, names: list[str]) -> int:
    from deepspeaker.audio import probe, read_audio
    from deepspeaker.audio.content import Content
    from deepspeaker.audio.reading import decode
    from deepspeaker.errors import UserError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    report = os.fdopen(os.dup(1), "w", buffering=1)
    noise = os.open(folder, os.O_TMPFILE | os.O_RDWR)
    os.dup2(noise, 1)
    os.dup2(noise, 2)
    faults, good = 0, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    for name in names or list(good):
        for number in range(first, last):
            rng = np.random.default_rng([number, zlib.crc32(name.encode())])
            data, how = damage(rng, good[name], good[list(good)[rng.integers(len(good))]])
            case, path = f"{name} {number} ({how})", folder.parent / f"damaged-{name}"
            path.write_bytes(data)
            print(case, file=report)
            found = []
            for what, source, read in [
                    ("read_audio", str(path), lambda p=str(path): len(read_audio(p, 16000).samples) / 16000),
                    ("a segment", str(path), lambda p=str(path): len(read_audio(p, 16000, 0.3, 0.8).samples) / 16000),
                    ("probe", str(path), lambda p=str(path): probe(p).seconds),
                    ("in memory", "<name>", lambda d=data: len(decode(Content("<name>", d), 16000).samples) / 16000)]:
                signal.setitimer(signal.ITIMER_REAL, SLOW)
                try:
                    seconds = read()
                    if not 0 < seconds <= max(LONGEST, len(data) / LEAST_BYTES):
                        found.append(f"{what}: {seconds} s of sound")
                except (UserError, OSError) as error:
                    if source not in str(error) and data or "bug" in str(error) or not str(error).isprintable():
                        found.append(f"{what}: {error}")
                except Exception as error:
                    found.append(f"{what}: {error!r}")
                signal.setitimer(signal.ITIMER_REAL, 0)
            if os.fstat(noise).st_size:
                found.append(f"printed {os.pread(noise, 200, 0)!r}")
                os.ftruncate(noise, 0)
                os.lseek(noise, 0, os.SEEK_SET)
            if (peak := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) > RESIDENT:
                print(f"FAULT {case}: {peak} KiB of memory", file=report)
                return 1
            for fault in found:
                print(f"FAULT {case}: {fault}", file=report)
            faults += len(found)
    return min(1, faults)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
