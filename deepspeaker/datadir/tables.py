"""The lines of a data directory's files, as bytes, for the tools in utils/ that sort, filter and copy them.

Bytes, because a line goes through these tools unchanged whatever its encoding, because LC_ALL=C sorts bytes,
and because fields end at ASCII blanks alone (a speaker's name may hold any other character). The package itself,
deepspeaker.datadir, reads the values in these files as text.
"""

import operator
import os
import sys
from collections.abc import Container, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import IO

from deepspeaker.atomic import atomic
from deepspeaker.datadir import channel_number
from deepspeaker.errors import UserError

BOM = b"\xef\xbb\xbf"

# The files Kaldi knows (and `augment`, `utt2quality`), by what their first field names. Without segments an utterance
# is a recording.
UTTERANCE_FILES = ("utt2spk", "feats.scp", "vad.scp", "sound.scp", "text", "segments", "utt2lang", "utt2uniq",
                   "utt2dur", "utt2num_frames", "utt2quality", "augment")
RECORDING_FILES = ("wav.scp", "reco2file_and_channel", "reco2dur")
SPEAKER_FILES = ("spk2utt", "spk2gender", "cmvn.scp")
DIRECTORY_FILES = ("frame_shift", "feats_conf.json", "sound_conf.json")  # how all utterances' archives were made
FEATURE_FILES = ("feats.scp", "vad.scp", "sound.scp", "cmvn.scp", "utt2dur", "utt2num_frames",  # not the audio's
                 "utt2quality",
                 *DIRECTORY_FILES)
KNOWN_FILES = UTTERANCE_FILES + RECORDING_FILES + SPEAKER_FILES


def shown(text: bytes) -> str:
    """Bytes of a file, for a message."""
    return text.decode("utf-8", "backslashreplace")


def split_lines(data: bytes) -> list[bytes]:
    """Lines without their ends; a byte-order mark and CRs at line ends are dropped."""
    lines = data.removeprefix(BOM).split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return [line.rstrip(b"\r") for line in lines] if b"\r" in data else lines


def joined(lines: Iterable[bytes]) -> bytes:
    """A file's contents, from its lines."""
    return b"\n".join([*lines, b""])


def require(path: str | os.PathLike[str]) -> Path:
    """The path, if there is such a file; UserError otherwise."""
    if not Path(path).is_file():
        raise UserError(f"no such file {path}")
    return Path(path)


def read_bytes(name: str) -> tuple[bytes, str]:
    """(contents, name for messages) of a file named on a command line, `-` for standard input."""
    if name == "-":
        return sys.stdin.buffer.read() if sys.stdin else b"", "standard input"  # None where it is closed
    path = Path(name)
    if not path.exists() or path.is_dir():  # a pipe of bash's <(...) is no regular file, but a file
        raise UserError(f"no such file {name}")
    return path.read_bytes(), name


def open_input(name: str) -> AbstractContextManager[IO[bytes]]:
    """A file named on a command line opened for reading, `-` for standard input."""
    return nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb")


def read_lines(path: str | os.PathLike[str]) -> list[bytes]:
    """The file's lines, as `split_lines` gives them. Raises UserError for a missing file."""
    return split_lines(read_bytes(os.fspath(path))[0])


def nth_field(line: bytes, number: int, path: str | os.PathLike[str], field: int = 1) -> bytes:
    """A field (from 1) of line `number` of `path`. Raises UserError if the line has fewer fields."""
    found = line.split(None, field)
    if len(found) < field:
        expected = f"{field} fields" if field > 1 else "'key value'"
        raise UserError(f"{path}:{number}: expected {expected}, found {shown(line)!r}; remove or complete it")
    return found[field - 1]


def keys(lines: Iterable[bytes], path: str | os.PathLike[str], field: int = 1) -> list[bytes]:
    """Field number `field` of each line. UserError for a line without it; `path` is for the message."""
    try:
        return [line.split(None, field)[field - 1] for line in lines]
    except IndexError:
        return [nth_field(line, number, path, field) for number, line in enumerate(lines, 1)]


def fields(lines: Iterable[bytes], count: int, path: str | os.PathLike[str]) -> list[list[bytes]]:
    """The fields of each line. Raises UserError for a line with more or fewer than `count`."""
    rows = [line.split() for line in lines]
    for number, row in enumerate(rows, 1):
        if len(row) != count:
            line = shown(b" ".join(row))
            raise UserError(f"{path}:{number}: expected {count} fields, found {len(row)}: {line!r}")
    return rows


def segment_rows(lines: Iterable[bytes], path: str | os.PathLike[str]) -> list[list[bytes]]:
    """Utterance, recording, start, end and, where the line has it, channel of each line of segments."""
    rows = [line.split() for line in lines]
    for number, row in enumerate(rows, 1):
        if len(row) not in (4, 5):
            line = shown(b" ".join(row))
            raise UserError(f"{path}:{number}: expected 4 fields, or 5 with a channel, found {len(row)}: {line!r}")
        if len(row) == 5 and not is_channel(row[4]):
            raise UserError(f"{path}:{number}: expected a channel (0, 1, ... or A, B) as field 5, found "
                            f"{shown(row[4])!r}")
    return rows


def is_channel(text: bytes) -> bool:
    """Whether a channel is named, as channel_number understands it."""
    try:
        channel_number(shown(text))
    except ValueError:
        return False
    return True


def require_values(lines: Iterable[bytes], path: str | os.PathLike[str]) -> None:
    """Raises UserError for a line that has no second field."""
    for number, line in enumerate(lines, 1):
        if len(line.split(None, 1)) < 2:
            raise UserError(
                f"{path}:{number}: expected 'key value', found {shown(line)!r}; add it or remove the line"
            )


def lengths(lines: Iterable[bytes], path: str | os.PathLike[str]) -> dict[bytes, float]:
    """First field -> second field, a number. Raises UserError for any other line."""
    found = {}
    for number, line in enumerate(lines, 1):
        try:
            key, length = line.split()
            found[key] = float(length)
        except ValueError:
            raise UserError(f"{path}:{number}: expected 'utterance length', found {shown(line)!r}") from None
    return found


def refuse_repeated(ids: list[bytes], path: str | os.PathLike[str]) -> None:
    """Raises UserError for an id that comes twice; `ids` are those of the lines of a file."""
    if rising(ids):
        return
    seen: set[bytes] = set()
    for number, item in enumerate(ids, 1):
        if item in seen:
            raise UserError(
                f"{path}:{number}: {shown(item)} stands here for the second time; run utils/fix_data_dir.sh"
            )
        seen.add(item)


def read_keys(path: str | os.PathLike[str]) -> list[bytes]:
    """First field of each line of a file."""
    return keys(read_lines(path), path)


def read_pairs(path: str | os.PathLike[str]) -> list[list[bytes]]:
    """The two fields of each line of a file (utt2spk and the like)."""
    return fields(read_lines(path), 2, path)


def rising(items: list[bytes]) -> bool:
    """Whether each item sorts after the one before it: sorted, and none twice."""
    return all(map(operator.lt, items, items[1:]))


def keep(lines: list[bytes], ids: list[bytes], wanted: Container[bytes]) -> list[bytes]:
    """The lines whose ids (one a line) are wanted."""
    return [line for line, item in zip(lines, ids, strict=True) if item in wanted]


def spk2utt_lines(pairs: Iterable[Iterable[bytes]]) -> list[bytes]:
    """Lines `speaker utterance...` of (utterance, speaker) pairs, speakers as they come first."""
    speakers: dict[bytes, list[bytes]] = {}
    for utterance, speaker in pairs:
        speakers.setdefault(speaker, []).append(utterance)
    return [b" ".join([speaker, *utterances]) for speaker, utterances in speakers.items()]


def utt2spk_pairs(lines: list[bytes], path: str | os.PathLike[str]) -> list[list[bytes]]:
    """(utterance, speaker) pairs of spk2utt's lines. Raises UserError for a speaker without utterances."""
    require_values(lines, path)
    return [[utterance, row[0]] for row in (line.split() for line in lines) for utterance in row[1:]]


def write_files(directory: str | os.PathLike[str], files: Mapping[str, Iterable[bytes]]) -> None:
    """Write files (name -> lines) into a directory, made if need be; its other files stay.

    All are written under temporary names before the first gets its own, so that a full disk changes nothing.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name, lines in files.items():
            file = stack.enter_context(atomic(directory / name, "wb"))
            file.write(joined(lines))
            file.flush()
            os.fsync(file.fileno())


def set_aside(directory: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Move files of a directory, those of `names` that are there, into its .backup/."""
    directory = Path(directory)
    for path in (directory / name for name in names):
        if path.is_file():
            path.parent.joinpath(".backup").mkdir(exist_ok=True)
            path.replace(directory / ".backup" / path.name)


def replace_files(directory: str | os.PathLike[str], files: Mapping[str, Iterable[bytes]]) -> None:
    """Make `files` the only known files of a directory; its other known files go into its .backup/."""
    write_files(directory, files)
    set_aside(directory, [name for name in (*KNOWN_FILES, *DIRECTORY_FILES) if name not in files])


def write_output(name: str, lines: Iterable[bytes]) -> None:
    """Write lines to a file named on a command line: whole or not at all, but for `-` and devices."""
    path = Path(name)
    if name == "-":
        sys.stdout.buffer.write(joined(lines))
    elif path.exists() and not path.is_file():
        with path.open("wb") as file:
            file.write(joined(lines))
    else:
        with atomic(path, "wb") as file:
            file.write(joined(lines))
