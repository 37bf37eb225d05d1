"""utils/validate_data_dir.sh: whether a data directory's files are well-formed and agree with each other."""

import operator
import re
import sys
from collections.abc import Callable
from pathlib import Path

from deepspeaker.datadir.options import expect, parse, shell_door
from deepspeaker.datadir.tables import (
    BOM,
    RECORDING_FILES,
    SPEAKER_FILES,
    UTTERANCE_FILES,
    fields,
    is_channel,
    keys,
    require_values,
    rising,
    shown,
    utt2spk_pairs,
)
from deepspeaker.errors import UserError

USAGE = "validate_data_dir.sh [--no-feats] [--no-text] [--no-wav] [--no-spk-sort] [--non-print] data-dir"
OPTIONS = dict.fromkeys(("--no-feats", "--no-text", "--no-wav", "--no-spk-sort", "--non-print"), False)
FIX = "run utils/fix_data_dir.sh"


def read(path: Path) -> tuple[list[bytes], list[bytes]]:
    """(lines, their first fields) of a table. UserError unless sorted, without duplicates, CRs or a BOM."""
    data = path.read_bytes()
    if data.startswith(BOM):
        raise UserError(f"{path}:1: starts with a byte-order mark; {FIX}")
    *lines, rest = data.split(b"\n")
    if rest:
        raise UserError(
            f"{path}:{len(lines) + 1}: file has invalid newline: its last line does not end; {FIX}"
        )
    if b"\r\n" in data:
        number = next(i for i, line in enumerate(lines, 1) if line.endswith(b"\r"))
        raise UserError(f"{path}:{number}: line ends in CR LF; {FIX}")
    ids = keys(lines, path)
    if not rising(ids):
        number = next(i for i in range(1, len(ids)) if ids[i - 1] >= ids[i])
        raise UserError(
            f"file {path} is not sorted or has duplicates: {shown(ids[number])} in line {number + 1} comes "
            f"after {shown(ids[number - 1])}; {FIX}"
        )
    return lines, ids


def same(found: list[bytes], expected: list[bytes], message: str, advice: str = FIX) -> None:
    """UserError with the message and the first difference unless both (sorted) lists are equal."""
    if found == expected:
        return
    odd = min(set(found) ^ set(expected))
    where = "extra" if odd in set(found) else "missing"
    raise UserError(f"{message}: {len(expected)} and {len(found)} ids, first {where}: {shown(odd)}; {advice}")


def check_rows(path: Path, lines: list[bytes], valid: Callable[[list[bytes]], bool], what: str) -> None:
    """UserError for the first line of which `valid(fields)` is false."""
    for number, line in enumerate(lines, 1):
        try:
            good = valid(line.split())
        except (ValueError, IndexError):
            good = False
        if not good:
            raise UserError(f"{what}: {path}:{number}: {shown(line)!r}")


def check_text(path: Path, lines: list[bytes], non_print: bool) -> None:
    """UserError for symbols that language models reserve, and for control characters unless allowed."""
    reserved = {b"<s>", b"</s>", b"#0"}
    for number, line in enumerate(lines, 1):
        if illegal := reserved.intersection(line.split()[1:]):
            raise UserError(f"Error: text contains illegal symbol {shown(illegal.pop())}: {path}:{number}")
        if not non_print and re.search(r"[\0-\x08\x0e-\x1f\x7f-\x9f]", line.decode("utf-8", "ignore")):
            raise UserError(
                f"text contains non-printable characters: {path}:{number} (if this is by design, "
                "specify --non-print)"
            )


def check_speakers(directory: Path, spk_sort: bool) -> tuple[list[bytes], list[bytes]]:
    """(utterances, speakers) from utt2spk and spk2utt, which must agree."""
    utt2spk, spk2utt = directory / "utt2spk", directory / "spk2utt"
    for path in (spk2utt, utt2spk):
        if not path.is_file():
            hint = "; utils/utt2spk_to_spk2utt.pl makes it" if path == spk2utt else ""
            raise UserError(f"no such file {path.name} in {directory}{hint}")
        if path.stat().st_size == 0:
            raise UserError(f"empty file {path.name} in {directory}")
    lines, utterances = read(utt2spk)
    pairs = fields(lines, 2, utt2spk)
    owners = [speaker for _, speaker in pairs]
    if spk_sort and not all(map(operator.le, owners, owners[1:])):
        number = next(i for i in range(1, len(owners)) if owners[i - 1] > owners[i])
        raise UserError(
            f"utt2spk is not in sorted order when sorted first on speaker-id: {utt2spk}:{number + 1}: "
            f"{shown(owners[number])} after {shown(owners[number - 1])} (fix this by making speaker-ids "
            "prefixes of utt-ids)"
        )
    lines, speakers = read(spk2utt)
    if sorted(utt2spk_pairs(lines, spk2utt)) != pairs:
        raise UserError(f"spk2utt and utt2spk do not seem to match in {directory}; {FIX}")
    if len(speakers) == 1:
        print(f"WARNING: {directory} has only one speaker, {shown(speakers[0])}", file=sys.stderr)
    return utterances, speakers


def positive(row: list[bytes]) -> bool:
    return len(row) == 2 and 0 < float(row[1]) < float("inf")


def segment(row: list[bytes]) -> bool:
    _, _, start, end, *channel = row
    if len(channel) > 1 or not all(map(is_channel, channel)):
        return False
    return 0 <= float(start) < float(end) or (float(start) >= 0 and float(end) == -1)  # -1: the recording's end


# file -> (what each row must be, the message of the one that is not)
ROWS = {
    "utt2dur": (positive, "Bad line in utt2dur (expected a duration above 0)"),
    "reco2dur": (positive, "Bad line in reco2dur (expected a duration above 0)"),
    "utt2num_frames": (
        lambda row: len(row) == 2 and row[1].isdigit() and int(row[1]) > 0,
        "Bad line in utt2num_frames (expected a whole number above 0)",
    ),
    "spk2gender": (lambda row: len(row) == 2 and row[1] in (b"m", b"f"), "Mal-formed spk2gender file"),
    "segments": (segment, "badly formatted segments file (expected: utterance recording start end [channel])"),
    "reco2file_and_channel": (
        lambda row: len(row) == 3 and row[2] in (b"A", b"B", b"1"),
        "badly formatted reco2file_and_channel file (expected: recording file A or B)",
    ),
}  # fmt: skip


def check_file(path: Path, allowed: dict[str, bool]) -> tuple[list[bytes], list[bytes]]:
    """(lines, their first fields) of one file whose lines are right in themselves."""
    lines, ids = read(path)
    if path.name in ROWS:
        check_rows(path, lines, *ROWS[path.name])
    elif path.name == "text":
        check_text(path, lines, allowed["--non-print"])
    else:
        require_values(lines, path)
    if path.name == "wav.scp":
        check_rows(path, lines, lambda row: not row[1].startswith(b"~"), "~ is not expanded in wav.scp")
    return lines, ids


def check(directory: Path, allowed: dict[str, bool]) -> None:
    """Raises UserError at the first thing wrong. `allowed`: the command's options, name -> given."""
    if not directory.is_dir():
        raise UserError(f"no such directory {directory}")
    utterances, speakers = check_speakers(directory, not allowed["--no-spk-sort"])
    for name in ("text", "wav.scp", "feats.scp"):
        option = f"--no-{name.removesuffix('.scp')}"
        if not allowed[option] and not (directory / name).is_file():
            raise UserError(f"no such file {directory / name} (if this is by design, specify {option})")
    recordings = utterances
    by_recording = "utterance", "utt2spk"
    if (directory / "segments").is_file():
        if not (directory / "wav.scp").is_file():
            raise UserError(f"in directory {directory}, segments file exists but no wav.scp")
        lines, _ = check_file(directory / "segments", allowed)
        recordings = sorted({line.split()[1] for line in lines})
        by_recording = "recording", "segments"
    for names, ids, (kind, source) in (
        (UTTERANCE_FILES, utterances, ("utterance", "utt2spk")),
        (RECORDING_FILES, recordings, by_recording),
        (SPEAKER_FILES, speakers, ("speaker", "spk2utt")),
    ):
        for name in names:
            if name in ("utt2spk", "spk2utt") or not (directory / name).is_file():
                continue
            _, found = check_file(directory / name, allowed)
            if name == "augment":  # an utterance without a line here is not changed
                found = sorted({*found, *ids})
            # fix_data_dir.sh does not give up utterances for the sake of these two
            advice = f"make {name} anew or remove it" if name in ("vad.scp", "utt2uniq") else FIX
            message = f"Error: in {directory}, {kind} lists extracted from {source} and {name} differ"
            same(found, ids, message, advice)


def main() -> None:
    allowed, args = parse(sys.argv[1:], OPTIONS, USAGE)
    directory = expect(args, (1,), USAGE)[0]
    check(Path(directory), allowed)
    print(f"{sys.argv[0]}: Successfully validated data-directory {directory}")


if __name__ == "__main__":
    shell_door(main)
