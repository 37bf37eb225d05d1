"""utils/combine_data.sh: one data directory from several."""

import os
import sys
from pathlib import Path

from deepspeaker.atomic import replacing
from deepspeaker.datadir.durations import recording_durations, utterance_durations, written
from deepspeaker.datadir.fix import fixed
from deepspeaker.datadir.options import expect, parse, shell_door
from deepspeaker.datadir.tables import (
    DIRECTORY_FILES,
    KNOWN_FILES,
    keys,
    read_keys,
    read_lines,
    require,
    require_values,
    shown,
    spk2utt_lines,
    write_files,
)
from deepspeaker.errors import UserError

USAGE = 'combine_data.sh [--extra-files "file1 file2"] [--skip-fix true|false] new-dir source-dir1 ...'


def say(message: str) -> None:
    print(f"{sys.argv[0]}: {message}")


def made_up(directory: Path, name: str) -> list[bytes]:
    """Lines of segments or utt2uniq for a directory that has no such file; none for `augment`."""
    if name == "segments":
        say(f"[info]: making the missing segments of {directory} from the lengths of its recordings")
        exact = (directory / "wav.scp").is_file()  # the frames of an utterance do not reach to its end
        found = (recording_durations if exact else utterance_durations)(directory, os.cpu_count() or 1)
        return [b"%b %b 0 %b" % (key, key, written(length)) for key, length in sorted(found.items())]
    if name == "utt2uniq":
        return [b"%b %b" % (key, key) for key in read_keys(directory / "utt2spk")]
    return []


def merged(name: str, sources: list[Path]) -> list[bytes]:
    """The sorted lines of one file of all sources. UserError where two of them differ on one id."""
    lines: dict[bytes, bytes] = {}
    origin: dict[bytes, Path] = {}
    for directory in sources:
        path = directory / name
        found = read_lines(path) if path.is_file() else made_up(directory, name)
        if name in KNOWN_FILES and name != "text":
            require_values(found, path)
        for key, line in zip(keys(found, path), found, strict=True):
            if lines.setdefault(key, line) == line:
                origin.setdefault(key, path)
            elif (
                name != "cmvn.scp"
            ):  # a speaker's statistics differ between directories: the first are kept
                raise UserError(f"{shown(line)!r} in {path}, but {shown(lines[key])!r} in {origin[key]}")
    return [lines[key] for key in sorted(lines)]


def common(name: str, sources: list[Path]) -> list[bytes]:
    """A file about a whole directory. Raises UserError unless all sources have the same."""
    found = [read_lines(directory / name) for directory in sources]
    for directory, lines in zip(sources, found, strict=True):
        if lines != found[0]:
            raise UserError(
                f"{directory / name} and {sources[0] / name} differ: these features cannot be used together; "
                "make them anew with one configuration"
            )
    return found[0]


def combined(sources: list[Path], extra: list[str]) -> dict[str, list[bytes]]:
    """The files of the combination: those that all sources have, and those that can be made up."""
    files = {}
    for name in dict.fromkeys([*KNOWN_FILES, *DIRECTORY_FILES, *extra]):
        having = [directory for directory in sources if (directory / name).is_file()]
        whole = len(having) == len(sources)
        if name == "spk2utt":
            continue
        if name in DIRECTORY_FILES and whole:
            files[name] = common(name, sources)
        elif whole or (having and name in ("segments", "utt2uniq", "augment")):
            files[name] = merged(name, sources)
        else:
            say(f"[info]: not combining {name} as it does not exist in every source directory")
            continue
        say(f"combined {name}")
    files["spk2utt"] = sorted(spk2utt_lines(line.split() for line in files["utt2spk"]))
    return files


def main() -> None:
    values, args = parse(sys.argv[1:], {"--extra-files": "", "--skip-fix": "false"}, USAGE)
    if values["--skip-fix"] not in ("true", "false"):
        raise UserError(f'expected "true" or "false": --skip-fix {values["--skip-fix"]}')
    new, *sources = (Path(path) for path in expect(args, tuple(range(2, len(args) + 1)), USAGE))
    for source in sources:
        require(source / "utt2spk")
    extra = values["--extra-files"].split()
    files = combined(sources, extra)
    if values["--skip-fix"] == "false":
        special = {name: files.pop(name) for name in DIRECTORY_FILES if name in files}
        files = fixed({name: lines for name, lines in files.items() if name != "spk2utt"}, new) | special
    with replacing(os.path.normpath(new)) as successor:
        write_files(successor, files)


if __name__ == "__main__":
    shell_door(main)
