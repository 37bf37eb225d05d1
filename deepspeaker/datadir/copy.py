"""utils/copy_data_dir.sh: a copy of a data directory, with other utterance and speaker ids if asked for."""

import os
import sys
from pathlib import Path

from deepspeaker.datadir.check import OPTIONS, check
from deepspeaker.datadir.options import expect, parse, shell_door
from deepspeaker.datadir.tables import (
    DIRECTORY_FILES,
    RECORDING_FILES,
    SPEAKER_FILES,
    UTTERANCE_FILES,
    keys,
    read_lines,
    read_pairs,
    refuse_repeated,
    replace_files,
    require,
    spk2utt_lines,
)
from deepspeaker.errors import UserError

USAGE = (
    "copy_data_dir.sh [--utt-prefix S] [--utt-suffix S] [--spk-prefix S] [--spk-suffix S] "
    "[--validate-opts OPTIONS] source-dir new-dir"
)


def renamed(path: Path, prefix: bytes, suffix: bytes) -> list[bytes]:
    """A file's lines with prefix and suffix around their first fields, sorted by the new ids."""
    lines = read_lines(path)
    rows = sorted((prefix + key + suffix, *line.split(None, 1)[1:])
                  for key, line in zip(keys(lines, path), lines, strict=True))  # fmt: skip
    return [b" ".join(row) for row in rows]


def copied(directory: Path, utt: tuple[bytes, bytes], spk: tuple[bytes, bytes]) -> dict[str, list[bytes]]:
    """The files of the copy. utt, spk: what to put before and after each id."""
    pairs = read_pairs(require(directory / "utt2spk"))
    refuse_repeated([utterance for utterance, _ in pairs], directory / "utt2spk")
    pairs = sorted([utt[0] + u + utt[1], spk[0] + s + spk[1]] for u, s in pairs)
    files = {"utt2spk": [b" ".join(pair) for pair in pairs], "spk2utt": sorted(spk2utt_lines(pairs))}
    unchanged = (b"", b"")
    recording = unchanged if (directory / "segments").is_file() else utt
    for names, around in (
        (UTTERANCE_FILES, utt),
        (RECORDING_FILES, recording),
        (SPEAKER_FILES, spk),
        (DIRECTORY_FILES, None),
    ):
        for name in names:
            if name not in files and (directory / name).is_file():
                path = directory / name
                files[name] = read_lines(path) if around in (None, unchanged) else renamed(path, *around)
    if (
        utt != unchanged and "utt2uniq" not in files
    ):  # so that copies of an utterance can be recognised
        ids = sorted(u for u, _ in read_pairs(directory / "utt2spk"))
        files["utt2uniq"] = sorted(utt[0] + u + utt[1] + b" " + u for u in ids)
    return files


def main() -> None:
    names = ("--utt-prefix", "--utt-suffix", "--spk-prefix", "--spk-suffix", "--validate-opts")
    values, args = parse(sys.argv[1:], dict.fromkeys(names, ""), USAGE)
    source, new = expect(args, (2,), USAGE)
    if os.path.realpath(source) == os.path.realpath(new):
        raise UserError(f"the source and the new directory are both {source}")
    before_utt, after_utt, before_spk, after_spk, validate = map(os.fsencode, values.values())
    files = copied(Path(source), (before_utt, after_utt), (before_spk, after_spk))
    replace_files(new, files)
    print(f"{sys.argv[0]}: copied data from {source} to {new}")
    allowed, _ = parse(os.fsdecode(validate).split(), OPTIONS, USAGE)
    for name, option in (("feats.scp", "--no-feats"), ("text", "--no-text"), ("wav.scp", "--no-wav")):
        allowed[option] |= name not in files
    check(Path(new), allowed)
    print(f"{sys.argv[0]}: Successfully validated data-directory {new}")


if __name__ == "__main__":
    shell_door(main)
