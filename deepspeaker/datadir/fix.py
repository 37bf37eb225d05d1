"""utils/fix_data_dir.sh: sort a data directory's files and keep what all of them have."""

import shutil
import sys
from collections.abc import Container, Iterable
from pathlib import Path

from deepspeaker.datadir.options import expect, parse, shell_door
from deepspeaker.datadir.tables import (
    KNOWN_FILES,
    RECORDING_FILES,
    SPEAKER_FILES,
    fields,
    joined,
    keep,
    keys,
    lengths,
    read_lines,
    require_values,
    rising,
    segment_rows,
    shown,
    spk2utt_lines,
    write_files,
)
from deepspeaker.errors import UserError

USAGE = "fix_data_dir.sh [--utt-extra-files NAMES] [--spk-extra-files NAMES] data-dir"
FILTERING = (
    "feats.scp",
    "text",
    "segments",
    "utt2lang",
)  # an utterance must be in each of these that is there
LENGTHS = ("utt2dur", "utt2num_frames")  # and have a length above 0 in these


def say(message: str) -> None:
    print(f"fix_data_dir.sh: {message}")


def ordered(lines: list[bytes], path: Path) -> list[bytes]:
    """The lines sorted and unique on their first field; of a field that comes twice, its first line."""
    ids = keys(lines, path)
    if rising(ids):
        return lines
    first: dict[bytes, bytes] = {}
    for key, line in zip(ids, lines, strict=True):
        if first.setdefault(key, line) != line:
            say(f"{path} has more than one line for {shown(key)}, keeping {shown(first[key])!r}")
    say(f"file {path} is not in sorted order or not unique, sorting it")
    return [first[key] for key in sorted(first)]


def read_file(path: Path) -> list[bytes]:
    """A file's lines, checked, sorted and unique."""
    lines = [line for line in read_lines(path) if line.strip()]
    if path.name == "utt2spk":
        fields(lines, 2, path)
    elif path.name == "segments":
        segment_rows(lines, path)
    elif path.name != "text":
        require_values(lines, path)
    return ordered(lines, path)


def all_ids(files: dict[str, list[bytes]], directory: Path) -> dict[str, list[bytes]]:
    """The first fields of each file; equal lists are one, so that a million ids are held and compared once."""
    ids = {"utt2spk": keys(files["utt2spk"], directory / "utt2spk")}
    for name, lines in files.items():
        found = keys(lines, directory / name)
        ids[name] = ids["utt2spk"] if found == ids["utt2spk"] else found
    return ids


def utterances_kept(
    directory: Path, files: dict[str, list[bytes]], ids: dict[str, list[bytes]]
) -> dict[bytes, bytes]:
    """utterance -> speaker of the utterances that every file has."""
    kept = dict(line.split() for line in files["utt2spk"])
    for name in ("spk2gender", "cmvn.scp"):
        if name in files:
            speakers = set(ids[name])
            kept = {utterance: speaker for utterance, speaker in kept.items() if speaker in speakers}
    lists = [name for name in (*FILTERING, *LENGTHS) if name in files]
    if "segments" not in files and "wav.scp" in files:
        lists.append("wav.scp")
    for name in lists:
        found = ids[name]
        if name in LENGTHS:
            known = lengths(files[name], directory / name)
            found = [utterance for utterance, length in known.items() if length > 0]
        elif name == "segments":
            recordings = set(ids["wav.scp"])
            found = [line.split()[0] for line in files[name] if line.split()[1] in recordings]
        if found != ids["utt2spk"]:
            present = set(found)
            kept = {utterance: speaker for utterance, speaker in kept.items() if utterance in present}
    return kept


def fixed(
    files: dict[str, list[bytes]], directory: Path, spk_extra: Iterable[str] = ()
) -> dict[str, list[bytes]]:
    """The fixed lines of each file, from its sorted and unique lines; `directory` is for messages.

    Raises UserError for a fault that cannot be fixed.
    """
    if "segments" in files and "wav.scp" not in files:
        raise UserError(f"{directory}/segments exists but not {directory}/wav.scp; nothing was changed")
    ids = all_ids(files, directory)
    total = len(files["utt2spk"])
    kept = utterances_kept(directory, files, ids)
    if not kept:
        raise UserError(f"no utterances remained in {directory}: not proceeding further; nothing was changed")
    recordings: Container[bytes] = kept
    if "segments" in files:
        recordings = {line.split()[1] for line in keep(files["segments"], ids["segments"], kept)}
    speakers = set(kept.values())
    result = {}
    for name, lines in files.items():
        wanted: Container[bytes] = kept
        if name in RECORDING_FILES:
            wanted = recordings
        elif name in SPEAKER_FILES or name in spk_extra:
            wanted = speakers
        result[name] = keep(lines, ids[name], wanted)
        if len(result[name]) < len(lines):
            say(f"filtered {directory / name} from {len(lines)} to {len(result[name])} lines")
    result["spk2utt"] = spk2utt_lines(kept.items())
    if not rising(keys(result["spk2utt"], "spk2utt")):
        raise UserError(
            f"{directory}/utt2spk is not in sorted order when sorted first on speaker-id (fix this by making "
            "speaker-ids prefixes of utt-ids); nothing was changed"
        )
    say(
        f"kept all {total} utterances."
        if len(kept) == total
        else f"kept {len(kept)} utterances out of {total}"
    )
    return result


def fix(directory: Path, utt_extra: list[str], spk_extra: list[str]) -> None:
    """Fix a directory; its old files are copied to .backup/ first."""
    if not (directory / "utt2spk").is_file():
        raise UserError(f"no such file {directory}/utt2spk")
    names = [name for name in [*KNOWN_FILES, *utt_extra, *spk_extra] if (directory / name).is_file()]
    files = {name: read_file(directory / name) for name in names if name != "spk2utt"}  # it is rebuilt
    files = fixed(files, directory, spk_extra)
    backup = directory / ".backup"
    backup.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(directory / name, backup / f".{name}.tmp")
        (backup / f".{name}.tmp").replace(backup / name)
    write_files(directory, {name: lines for name, lines in files.items() if differs(directory / name, lines)})
    say(f"old files are kept in {backup}")


def differs(path: Path, lines: list[bytes]) -> bool:
    return not path.is_file() or path.read_bytes() != joined(lines)


def main() -> None:
    values, args = parse(sys.argv[1:], {"--utt-extra-files": "", "--spk-extra-files": ""}, USAGE)
    fix(Path(*expect(args, (1,), USAGE)), *(value.split() for value in values.values()))


if __name__ == "__main__":
    shell_door(main)
