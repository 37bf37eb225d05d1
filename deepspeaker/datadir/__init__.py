"""Kaldi data directories: tables keyed by utterance, recording or speaker.

A table is a text file of lines `key value`, sorted on the key as under LC_ALL=C (byte order, which for UTF-8
is Python's order of strings). In this file: reading and writing tables, and the 5 % rule for unreadable audio
(MAX_UNUSABLE_SHARE), which corpus/check.py and extraction/make_features.py apply.

trials.py        trial lists: read, written, made from speakers
archive.py       Kaldi archives (feats.scp, embedding.scp), read through a memory map
sound_archive.py the same for sound, in wave archives
text_columns.py  files of millions of lines with the same number of fields

The tools of utils/:
options.py       their command lines
tables.py        lines of tables as bytes, which they sort, filter and copy
check.py         validate_data_dir.sh
fix.py           fix_data_dir.sh
copy.py          copy_data_dir.sh
combine.py       combine_data.sh
subset.py        subset_data_dir.sh
split.py         split_data.sh, split_scp.pl, subset_scp.pl
durations.py     get_utt2dur.sh, get_reco2dur.sh
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from deepspeaker.atomic import atomic
from deepspeaker.errors import UserError

MAX_UNUSABLE_SHARE = 0.05  # of a data directory's utterances; with more unusable ones, stage 2 stops
CHANNELS = ("A", "B")  # Kaldi's names of the channels of a telephone call, in reco2file_and_channel
ARCHIVES = {"feats": "raw_fbank", "vad": "vad", "sound": "sound"}  # NAME.scp -> how stage 2 names its archives
BLANKS = " \t\r\n\f\v"  # these separate fields; a no-break space, for one, may be part of a speaker's name


def lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end) of a UTF-8 text file; a byte-order mark, CRs and blank lines at the
    end of the file are dropped.

    Raises UserError for a missing file and for bytes that are not UTF-8.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="\n") as file:
            blank = []
            for number, line in enumerate(file, 1):
                if not line.strip(BLANKS):
                    blank.append((number, line.rstrip("\r\n")))
                    continue
                yield from blank
                blank.clear()
                yield number, line.rstrip("\r\n")
    except FileNotFoundError:
        raise UserError(f"no such file {path}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}:{undecodable(path)}: not UTF-8 text") from None


def undecodable(path: str | os.PathLike[str]) -> int:
    """Number of the first line that is not UTF-8."""
    with Path(path).open("rb") as file:
        return next(number for number, line in enumerate(file, 1) if line.decode(errors="ignore").encode() != line)


def words(line: str) -> list[str]:
    """The fields of a line."""
    return [word for word in re.split(f"[{BLANKS}]+", line) if word]


def read_table(path: str | os.PathLike[str]) -> dict[str, str]:
    """key -> rest of the line. Raises UserError for a line without a value and for a key that comes twice."""
    table = {}
    for number, line in lines(path):
        line = line.strip(BLANKS)
        key = line.partition(" ")[0].partition("\t")[0]
        value = line[len(key) :].lstrip(BLANKS)
        if not value:
            raise UserError(f"{path}:{number}: expected 'key value', found {line!r}")
        if key in table:
            raise UserError(f"{path}:{number}: {key} stands here for the second time")
        table[key] = value
    return table


def read_lists(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """key -> fields after it (spk2utt and the like)."""
    return {key: words(value) for key, value in read_table(path).items()}


def archives(directory: Path, *names: str) -> set[Path]:
    """The archives that lists of a data directory name, such as feats.scp, where it has these."""
    paths = [path for name in names if (path := directory / name).exists()]
    return {Path(name) for name in {line.partition(" ")[2].rpartition(":")[0] for path in paths
                                    for _, line in lines(path)}}


class Segment(NamedTuple):
    """A part of a recording, in seconds; `end` None: up to the recording's. channel: from 0; None: not said."""

    recording: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None


def read_segments(directory: str | os.PathLike[str]) -> dict[str, Segment]:
    """Utterance -> Segment, sorted; without a file `segments`, each recording of wav.scp is an utterance."""
    path = Path(directory) / "segments"
    if not path.exists():
        return {recording: Segment(recording) for recording in sorted(read_table(Path(directory) / "wav.scp"))}
    found = {}
    for utterance, fields in sorted(read_lists(path).items()):
        try:
            recording, start, end = fields[0], *map(float, fields[1:3])
            channel = channel_number(*fields[3:]) if fields[3:] else None
            whole = end == -1
            if not 0 <= start < (float("inf") if whole else end):
                raise ValueError
        except (ValueError, TypeError):
            raise UserError(f"{path}: {utterance}: expected 'recording start end' with times in seconds, the end later "
                            "than the start (-1: the recording's), and at most a channel (0, 1, ... or A, B) after "
                            f"them, found {' '.join(fields)!r}") from None
        found[utterance] = Segment(recording, start, None if whole else end, channel)
    return found


def channel_number(name: str) -> int:
    """A channel's number from 0, given as a number or, in Kaldi's way, as A or B. ValueError for anything else."""
    if name in CHANNELS:
        return CHANNELS.index(name)
    if not name.isascii() or not name.isdigit():
        raise ValueError(name)
    return int(name)


def write_table(path: str | os.PathLike[str], table: Mapping[str, object]) -> None:
    """Write `key value` lines sorted on the key, under a temporary name renamed when whole."""
    with atomic(path) as file:
        file.writelines(f"{key} {table[key]}\n" for key in sorted(table))


def spk2utt(utt2spk: Mapping[str, str]) -> dict[str, list[str]]:
    """Speaker -> sorted utterances."""
    speakers: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk):
        speakers.setdefault(utt2spk[utterance], []).append(utterance)
    return speakers


def write_speakers(directory: str | os.PathLike[str], utt2spk: Mapping[str, str]) -> None:
    """Write utt2spk and spk2utt."""
    directory = Path(directory)
    write_table(directory / "utt2spk", utt2spk)
    write_table(directory / "spk2utt", {name: " ".join(utts) for name, utts in spk2utt(utt2spk).items()})
