"""Parts of a list or of a data directory: split_scp.pl, subset_scp.pl, split_data.sh."""

import os
import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from deepspeaker.datadir.options import expect, number, parse, shell_door
from deepspeaker.datadir.tables import (
    DIRECTORY_FILES,
    KNOWN_FILES,
    RECORDING_FILES,
    SPEAKER_FILES,
    UTTERANCE_FILES,
    fields,
    keys,
    read_lines,
    refuse_repeated,
    require,
    segment_rows,
    shown,
    spk2utt_lines,
    write_files,
)
from deepspeaker.errors import UserError

USAGE = "split_data.sh [--per-utt] data-dir number-of-parts"


def boundaries(weights: Sequence[float], parts: int) -> list[int]:
    """Where to cut a row of items into parts of about equal weight, none of them empty: parts + 1 indices."""
    sums = [0.0, *accumulate(weights)]
    cuts = [0]
    for part in range(1, parts):
        wanted = sums[-1] * part / parts
        cut = bisect_left(sums, wanted)
        if cut > 0 and wanted - sums[cut - 1] < sums[cut] - wanted:
            cut -= 1
        cuts.append(min(max(cut, cuts[-1] + 1), len(weights) - (parts - part)))
    return [*cuts, len(weights)]


def split_evenly(lines: list[bytes], parts: int) -> list[list[bytes]]:
    """Consecutive parts whose sizes differ by at most one line, the larger ones first."""
    if parts > len(lines):
        raise UserError(f"too many pieces: {len(lines)} lines cannot be split into {parts} [reduce nj]")
    size, larger = divmod(len(lines), parts)
    starts = [part * size + min(part, larger) for part in range(parts + 1)]
    return [lines[a:b] for a, b in zip(starts, starts[1:], strict=False)]


def split_by_speaker(
    lines: list[bytes],
    utt2spk: Mapping[bytes, bytes],
    parts: int,
    lengths: Mapping[bytes, float] | None = None,
) -> list[list[bytes]]:
    """Parts of about equal size (in lines, or in the given length of each utterance), each speaker whole.

    Speakers keep the order of their first lines. Raises UserError when there are fewer speakers than parts.
    """
    speakers: dict[bytes, list[bytes]] = {}
    weights: dict[bytes, float] = {}
    for line, utterance in zip(lines, keys(lines, "the list to split"), strict=True):
        speaker = utt2spk.get(utterance)
        weight = 1.0 if lengths is None else lengths.get(utterance)
        if speaker is None or weight is None:
            raise UserError(
                f"no utterance {shown(utterance)} in {'utt2spk' if speaker is None else 'utt2dur'}"
            )
        speakers.setdefault(speaker, []).append(line)
        weights[speaker] = weights.get(speaker, 0.0) + weight
    if len(speakers) < parts:
        raise UserError(
            f"refusing to split: number of speakers {len(speakers)} is less than the number of parts {parts} "
            "[reduce nj, or split per utterance]"
        )
    groups = list(speakers.values())
    cuts = boundaries(list(weights.values()), parts)
    return [[line for group in groups[a:b] for line in group] for a, b in zip(cuts, cuts[1:], strict=False)]


def subset(lines: list[bytes], count: int, which: str = "") -> list[bytes]:
    """`count` of the lines: the "first", the "last", or from all over the list, the same ones as Kaldi."""
    if count > len(lines):
        raise UserError(f"more lines requested than available: {count} > {len(lines)}")
    if which == "first":
        return lines[:count]
    if which == "last":
        return lines[len(lines) - count :]
    return spread(lines, count)


def spread(lines: list[bytes], count: int) -> list[bytes]:
    """`count` lines from all over the list: half of them, rounded down, from its first half, rounded down, and so on in
    both halves. This is how Kaldi's subset_scp.pl chooses, so that subsets are the same everywhere."""
    if count in (0, len(lines)):
        return lines[:count]
    middle, first = len(lines) // 2, count // 2
    return spread(lines[:middle], first) + spread(lines[middle:], count - first)


def hand_out(
    lines: list[bytes], owned: Mapping[bytes, list[int]], parts: int, path: str | os.PathLike[str], field: int = 1
) -> list[list[bytes]]:
    """Hand each line to the parts that own its field of that number: one list of lines for each part."""
    shares: list[list[bytes]] = [[] for _ in range(parts)]
    for line, key in zip(lines, keys(lines, path, field), strict=True):
        for part in owned.get(key, ()):
            shares[part].append(line)
    return shares


def owners(ids: list[Iterable[bytes]]) -> dict[bytes, list[int]]:
    """id -> the parts whose (unique) ids hold it."""
    found: dict[bytes, list[int]] = {}
    for part, part_ids in enumerate(ids):
        for item in part_ids:
            found.setdefault(item, []).append(part)
    return found


def parts_of(directory: Path, pieces: list[list[bytes]]) -> list[dict[str, list[bytes]]]:
    """The files (name -> lines) of parts of a data directory; a piece holds one part's lines of utt2spk."""
    pairs = [fields(piece, 2, directory / "utt2spk") for piece in pieces]
    parts = []
    for piece, own_pairs in zip(pieces, pairs, strict=True):
        parts.append({"utt2spk": piece, "spk2utt": sorted(spk2utt_lines(own_pairs))})

    def add(names: Iterable[str], owned: dict[bytes, list[int]]) -> None:
        for name in names:
            path = directory / name
            if name in ("utt2spk", "spk2utt") or not path.is_file():
                continue
            for part, lines in zip(parts, hand_out(read_lines(path), owned, len(parts), path), strict=True):
                part[name] = lines

    by_utterance = owners([[utterance for utterance, _ in rows] for rows in pairs])
    add(UTTERANCE_FILES, by_utterance)
    add(SPEAKER_FILES, owners([{speaker for _, speaker in rows} for rows in pairs]))
    if "segments" in parts[0]:
        path = directory / "segments"
        segments = [segment_rows(part["segments"], path) for part in parts]
        add(RECORDING_FILES, owners([{recording for _, recording, *_ in own} for own in segments]))
    else:
        add(RECORDING_FILES, by_utterance)
    for name in DIRECTORY_FILES:
        if (directory / name).is_file():
            for part in parts:
                part[name] = read_lines(directory / name)
    return parts


def up_to_date(directory: Path, parts: list[Path]) -> bool:
    """Whether every part has each known file of the directory, none older than the original."""
    for name in KNOWN_FILES:
        original = directory / name
        if not original.is_file():
            continue
        for copy in (part / name for part in parts):
            if not copy.is_file() or copy.stat().st_mtime_ns < original.stat().st_mtime_ns:
                return False
    return True


def split_data(directory: Path, count: int, per_utterance: bool) -> None:
    """Write directory/splitN/1 ... N, or splitNutt; leaves them alone if newer than the originals."""
    lines = read_lines(require(directory / "utt2spk"))
    parts = [
        directory / f"split{count}{'utt' if per_utterance else ''}" / str(n) for n in range(1, count + 1)
    ]
    if up_to_date(directory, parts):
        return
    utt2spk = dict(fields(lines, 2, directory / "utt2spk"))
    refuse_repeated(keys(lines, directory / "utt2spk"), directory / "utt2spk")
    pieces = split_evenly(lines, count) if per_utterance else split_by_speaker(lines, utt2spk, count)
    pieces = [sorted(piece) for piece in pieces]  # where utt2spk does not follow the speakers
    for part, files in zip(parts, parts_of(directory, pieces), strict=True):
        write_files(part, files)


def main() -> None:
    values, args = parse(sys.argv[1:], {"--per-utt": False}, USAGE)
    directory, count = expect(args, (2,), USAGE)
    split_data(Path(directory), number(count, "number of parts"), values["--per-utt"])


if __name__ == "__main__":
    shell_door(main)
