"""What each part of a stage was made from: the records that show run.sh which parts are missing or stale.

Beginning a part (the features of one set, the training of one phase) removes its record, ending it writes a new one.
The fingerprint of a small file is a digest of its content, that of a large file its size and modification time. Times
are only compared for equality, so a clock that is set back does no harm.
"""

import hashlib
import json
import subprocess
import time
from collections.abc import Iterable
from enum import Enum, auto
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from deepspeaker import __version__
from deepspeaker.atomic import atomic
from deepspeaker.errors import UserError
from deepspeaker.provenance import changes

FORMAT = 1  # version of the records' format
FOLDER = ".stages"  # folder of records, in data/ and in exp/NAME/
SMALL = 1 << 24  # bytes: files up to this size are compared by content
LISTED = 2  # changed inputs that a reason lists
ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("deepspeaker/**/*.py", "steps/*", "utils/*", "local/*", "egs/voxceleb/run.sh")


Record = dict[str, Any]  # as `end` writes it


class Kind(Enum):
    """Kinds of reasons why a part is due."""

    NOT_RUN = auto()
    FORCED = auto()  # by --stage
    FOLLOWS = auto()  # an earlier stage will make its inputs again
    INTERRUPTED = auto()
    UNREADABLE = auto()  # the record is
    SETTINGS = auto()
    INPUTS = auto()
    OUTPUTS = auto()
    PROGRAM = auto()


class Reason(NamedTuple):
    """Why a part is due: programs decide by the kind and print the text."""

    kind: Kind
    text: str
    settings: tuple[str, ...] = ()  # keys that changed, for Kind.SETTINGS

    @property
    def is_first_time(self) -> bool:
        """Whether the part is due for another reason than stale or damaged outputs."""
        return self.kind in (Kind.NOT_RUN, Kind.FORCED, Kind.FOLLOWS)


NOT_RUN = Reason(Kind.NOT_RUN, "not run yet")
FORCED = Reason(Kind.FORCED, "asked for by --stage")
INTERRUPTED = Reason(Kind.INTERRUPTED, "it did not end")


class Part(NamedTuple):
    """A unit of work that is done completely or not at all, and everything it depends on."""

    name: str  # stage and part: "1", "2/train", "5/triplet/test"
    folder: Path  # folder of its record
    base: Path  # paths below this folder are recorded relative to it
    inputs: list[Path]
    settings: dict[str, object]  # options and configuration that it depends on, nested
    outputs: list[Path]
    paths: tuple[Path | str, ...] = ()  # arguments for the steps that make it

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name.replace('/', '.')}.json"

    @property
    def begun(self) -> Path:
        return self.record.with_suffix(".begun")


def why(part: Part, strict: bool) -> Reason | None:
    """Why the part is due; None if it is up to date. strict: it is also due if the programs changed."""
    if part.begun.exists():
        return INTERRUPTED
    if not part.record.exists():
        return NOT_RUN
    record = _read(part.record)
    if record is None:
        return Reason(Kind.UNREADABLE, f"{part.record} cannot be read as a record")
    if changed := _changes(part, record):
        return changed
    if missing := [name for name in record["outputs"] if not (part.base / name).exists()]:
        return Reason(Kind.OUTPUTS, f"{missing[0]} is missing")
    if strict and record["program"] != program():
        return Reason(Kind.PROGRAM, f"the program changed since {record['revision']}")
    return None


def begin(part: Part) -> None:
    """Remove the record and note what the part is about to be made from."""
    part.folder.mkdir(parents=True, exist_ok=True)
    with atomic(part.begun) as file:
        json.dump(_made_from(part), file)
    part.record.unlink(missing_ok=True)


def end(part: Part, seconds: float, command: str) -> None:
    """Write the record; UserError, and no record, if an input or setting changed since the part began."""
    before = _read(part.begun)
    if before is None:
        raise UserError(f"{part.begun}: expected the inputs that stage {part.name} began with; run the stage again")
    if changed := _changes(part, before):
        raise UserError(f"{changed.text} while stage {part.name} ran: run the stage again")
    record = {**before, "outputs": {relative(path, part.base): _count(path) for path in part.outputs},
              "seconds": round(seconds), "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "command": command,
              "versions": _versions(), "revision": _revision(), "program": program()}
    with atomic(part.record) as file:
        json.dump(record, file, indent=1)
        file.write("\n")
    part.begun.unlink()


def read_all(home: Path) -> list[tuple[str, Record]]:
    """(part, record) of every readable record of the folder `home`, data/ or exp/NAME/; part: "5.triplet.test"."""
    found = [(path.stem, _read(path)) for path in sorted((home / FOLDER).glob("*.json"))]
    return [(part, record) for part, record in found if record is not None]


def made_by_another_program(part: Part) -> str | None:
    """The revision of the programs that made a part; None if it is the current one or unknown."""
    record = _read(part.record)
    return str(record["revision"]) if record and record["program"] != program() else None


def program() -> str:
    """A digest of all programs of the recipe."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in PROGRAMS for path in ROOT.glob(pattern) if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _made_from(part: Part) -> dict[str, object]:
    return {"format": FORMAT, "part": part.name, "settings": part.settings,
            "inputs": {relative(path, part.base): _fingerprint(path) for path in part.inputs}}


def _changes(part: Part, record: Record) -> Reason | None:
    """Settings that differ from the record's, `num_mel_bins 40 -> 64`, or else inputs, `data/a changed`; or None."""
    if changed := list(changes(record["settings"], part.settings)):
        text = ", ".join(f"{change.key} {change.old!r} -> {change.new!r}" for change in changed)
        return Reason(Kind.SETTINGS, text, tuple(change.key for change in changed))
    old, new = record["inputs"], {relative(path, part.base): _fingerprint(path) for path in part.inputs}
    found = [f"{name} {'is gone' if name not in new else 'is new' if name not in old else 'changed'}"
             for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return Reason(Kind.INPUTS, ", ".join(found[:LISTED]) + more) if found else None


def _read(path: Path) -> Record | None:
    """A record, or what `begin` noted; None for anything else."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    known = {"settings": dict, "inputs": dict} | ({"outputs": dict, "program": str, "revision": str, "seconds": int,
                                                  "date": str, "command": str} if path.suffix == ".json" else {})
    good = isinstance(record, dict) and record.get("format") == FORMAT and all(
        isinstance(record.get(key), kind) for key, kind in known.items())
    return record if good else None


def _fingerprint(path: Path) -> list[int | str] | None:
    """[size, digest or time] of a file, [digest of the names] of a folder, None if there is neither."""
    try:
        status = path.stat()
        if path.is_dir():
            return [_digest(name.encode() for name in sorted(child.name for child in path.iterdir()))]
        if status.st_size <= SMALL:
            return [status.st_size, _digest([path.read_bytes()])]
        return [status.st_size, status.st_mtime_ns]
    except FileNotFoundError:
        return None


def _digest(blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block + b"\0")
    return digest.hexdigest()[:16]


def _count(path: Path) -> dict[str, int]:
    """The size of an output in bytes and, for text files, its number of lines."""
    if path.suffix in (".ark", ".pt", ".html"):
        return {"bytes": path.stat().st_size}
    content = path.read_bytes()
    return {"bytes": len(content), "lines": content.count(b"\n")}


def relative(path: Path, base: Path) -> str:
    """A path below `base` relative to it, so that the recipe's folder can be moved; other paths unchanged."""
    return str(path.relative_to(base) if path.is_relative_to(base) else path)


def _versions() -> dict[str, str]:
    found = {"deepspeaker": __version__}
    for name in ("torch", "numpy", "kaldiio", "soundfile"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _revision() -> str:
    """The programs' commit, with -dirty if files differ from it; without Git, the package's version."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True,
                              text=True)
    except FileNotFoundError:
        return __version__
    return done.stdout.strip() or __version__
