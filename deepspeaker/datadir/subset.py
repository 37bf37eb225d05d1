"""utils/subset_data_dir.sh: a data directory with some of another's utterances."""

import os
import random
import sys
from pathlib import Path
from typing import Any

from deepspeaker.datadir.durations import frame_counts, utterance_durations
from deepspeaker.datadir.options import expect, number, parse, shell_door
from deepspeaker.datadir.split import parts_of, subset
from deepspeaker.datadir.tables import (
    fields,
    lengths,
    read_keys,
    read_lines,
    refuse_repeated,
    replace_files,
    require,
    shown,
    spk2utt_lines,
)
from deepspeaker.errors import UserError

FLAGS = ("--first", "--last", "--per-spk", "--speakers", "--shortest")
USAGE = (
    "subset_data_dir.sh [--first|--last|--per-spk|--speakers|--shortest] source-dir N new-dir, or "
    "subset_data_dir.sh --utt-list FILE | --spk-list FILE source-dir new-dir"
)


def known_lengths(directory: Path) -> dict[bytes, float]:
    """Utterance -> length: in frames if there are features, in seconds otherwise."""
    if (directory / "utt2num_frames").is_file() or (directory / "feats.scp").is_file():
        return frame_counts(directory)
    if (directory / "utt2dur").is_file():
        return lengths(read_lines(directory / "utt2dur"), directory / "utt2dur")
    return utterance_durations(directory, os.cpu_count() or 1)


def shortest(directory: Path, utterances: list[bytes], count: int) -> list[bytes]:
    """The `count` shortest utterances."""
    length = known_lengths(directory)
    if missing := next((utterance for utterance in utterances if utterance not in length), None):
        raise UserError(f"no length of {shown(missing)} in {directory}; run utils/get_utt2dur.sh {directory}")
    return sorted(utterances, key=lambda utterance: (length[utterance], utterance))[:count]


def every_nth(utterances: list[bytes], count: int) -> list[bytes]:
    """`count` of a speaker's utterances, or all if there are fewer: the first, and each n-th after it, n as large as
    possible."""
    return utterances[::max(1, len(utterances) // count)][:count]


def whole_speakers(speakers: dict[bytes, list[bytes]], count: int) -> list[bytes]:
    """Utterances of speakers drawn at random (always the same) until there are at least `count`."""
    names = list(speakers)
    random.Random(0).shuffle(names)
    chosen: list[bytes] = []
    for name in names:
        if len(chosen) >= count:
            break
        chosen += speakers[name]
    return chosen


def listed(ids: list[bytes], path: str) -> set[bytes]:
    """Those of `ids` that are first fields of a list file. Raises UserError where there is none."""
    wanted = set(read_keys(path)).intersection(ids)
    if not wanted:
        raise UserError(f"{path}: none of its ids is in the source directory")
    return wanted


def choose(directory: Path, values: dict[str, Any], lines: list[bytes], count: str) -> list[bytes]:
    """The lines of utt2spk that the options ask for."""
    pairs = fields(lines, 2, directory / "utt2spk")
    utterances = [utterance for utterance, _ in pairs]
    refuse_repeated(utterances, directory / "utt2spk")
    if values["--utt-list"]:
        chosen = listed(utterances, values["--utt-list"])
    elif values["--spk-list"]:
        speakers = listed([speaker for _, speaker in pairs], values["--spk-list"])
        chosen = {utterance for utterance, speaker in pairs if speaker in speakers}
    else:
        wanted = number(count, "number of utterances")
        rows = [line.split() for line in spk2utt_lines(pairs)]
        if values["--per-spk"]:
            chosen = {item for _, *own in rows for item in every_nth(own, wanted)}
        elif wanted > len(lines):
            raise UserError(f"cannot subset to more utterances than {directory} has: {wanted} > {len(lines)}")
        elif values["--speakers"]:
            chosen = set(whole_speakers({speaker: own for speaker, *own in rows}, wanted))
        elif values["--shortest"]:
            chosen = set(shortest(directory, utterances, wanted))
        else:
            which = "first" if values["--first"] else "last" if values["--last"] else ""
            return subset(lines, wanted, which)
    return [line for line, utterance in zip(lines, utterances, strict=True) if utterance in chosen]


def main() -> None:
    options = {**dict.fromkeys(FLAGS, False), "--utt-list": "", "--spk-list": ""}
    values, args = parse(sys.argv[1:], options, USAGE)
    given = [name for name, value in values.items() if value]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other; usage: {USAGE}")
    by_list = values["--utt-list"] or values["--spk-list"]
    source, *count, new = expect(args, (2,) if by_list else (3,), USAGE)
    if os.path.realpath(source) == os.path.realpath(new):
        raise UserError(f"the source and the new directory are both {source}")
    directory = Path(source)
    lines = read_lines(require(directory / "utt2spk"))
    chosen = choose(directory, values, lines, *count or "0")
    replace_files(new, parts_of(directory, [chosen])[0])
    print(f"{sys.argv[0]}: reducing #utt from {len(lines)} to {len(chosen)}")


if __name__ == "__main__":
    shell_door(main)
