"""Parts of a list or of a data directory: split_scp.pl, subset_scp.pl, split_data.sh."""

import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from deepspeaker.command import UserError
from deepspeaker.datadir_lines import (
    KNOWN_FILES,
    RECORDING_FILES,
    SPEAKER_FILES,
    UTTERANCE_FILES,
    fields,
    keep,
    keys,
    read_lines,
    require,
    shown,
    spk2utt_lines,
    write_files,
)
from deepspeaker.datadir_options import expect, number, parse, shell_door

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
    """`count` of the lines: the "first", the "last", or from all over the list at even distances."""
    if count > len(lines):
        raise UserError(f"more lines requested than available: {count} > {len(lines)}")
    if which == "first":
        return lines[:count]
    if which == "last":
        return lines[len(lines) - count :]
    return [lines[i * len(lines) // count] for i in range(count)]


def read_files(directory: Path) -> dict[str, list[bytes]]:
    """The known files of a data directory: name -> lines."""
    return {name: read_lines(directory / name) for name in KNOWN_FILES if (directory / name).is_file()}


def restricted(
    files: Mapping[str, list[bytes]], utt2spk: list[bytes], directory: Path
) -> dict[str, list[bytes]]:
    """A data directory's files for some of its utterances: those of the given lines of utt2spk.

    `directory` is for messages.
    """
    pairs = fields(utt2spk, 2, directory / "utt2spk")
    utterances, speakers = {utterance for utterance, _ in pairs}, {speaker for _, speaker in pairs}
    found = {"utt2spk": utt2spk, "spk2utt": spk2utt_lines(pairs)}
    recordings = utterances
    if "segments" in files:
        rows = keep(files["segments"], utterances, directory / "segments")
        recordings = {row[1] for row in fields(rows, 4, directory / "segments")}
    groups = ((UTTERANCE_FILES, utterances), (RECORDING_FILES, recordings), (SPEAKER_FILES, speakers))
    for names, ids in groups:
        for name in names:
            if name in files and name not in found:
                found[name] = keep(files[name], ids, directory / name)
    return found


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
    """Write directory/splitN/1 ... N, or splitNutt; leaves them alone when they are newer than the originals."""
    lines = read_lines(require(directory / "utt2spk"))
    parts = [
        directory / f"split{count}{'utt' if per_utterance else ''}" / str(n) for n in range(1, count + 1)
    ]
    if up_to_date(directory, parts):
        return
    utt2spk = dict(fields(lines, 2, directory / "utt2spk"))
    pieces = split_evenly(lines, count) if per_utterance else split_by_speaker(lines, utt2spk, count)
    files = read_files(directory)
    for part, piece in zip(parts, pieces, strict=True):
        write_files(part, restricted(files, piece, directory))


def main() -> None:
    values, args = parse(sys.argv[1:], {"--per-utt": False}, USAGE)
    directory, count = expect(args, (2,), USAGE)
    split_data(Path(directory), number(count, "number of parts"), values["--per-utt"])


if __name__ == "__main__":
    shell_door(main)
