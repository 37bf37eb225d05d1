"""What the report says of data sets, training logs, stages and versions."""

import json
import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deepspeaker.datadir import lines, read_table
from deepspeaker.errors import UserError
from deepspeaker.recipe.phases import PHASES, TRAINED
from deepspeaker.recipe.records import read_all
from deepspeaker.scoring.calibration import read_calibration

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements.txt"


def data_sets(data: Path) -> list[dict[str, object]]:
    """Counts of each data directory: speakers, utterances, hours, utterances that stage 2 could not use, trials."""
    found: list[dict[str, object]] = []
    for directory in sorted(path.parent for path in data.glob("*/utt2spk")):
        utt2spk = read_table(directory / "utt2spk")
        durations = directory / "utt2dur"
        seconds = [float(text) for text in read_table(durations).values()] if durations.exists() else None
        found.append({"name": directory.name, "speakers": len(set(utt2spk.values())), "utterances": len(utt2spk),
                      "hours": sum(seconds) / 3600 if seconds else None, "lost": _count(directory / "bad_utts"),
                      "trials": sum(_count(path) for path in directory.glob("trials*"))})
    return found


def training_logs(exp: Path, phases: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Phase -> the entries of its train.jsonl, one per epoch. UserError for a line that is not such an entry."""
    found = {}
    for phase in phases:
        path = exp / phase / "train.jsonl"
        if path.exists():
            found[phase] = [_entry(path, number, line) for number, line in lines(path)]
    return {phase: entries for phase, entries in found.items() if entries}


def calibrations(phase_dir: Path) -> list[dict[str, Any]]:
    """The calibrations of a phase: back-end, speakers, Cllr of speakers held out, qualities, bounds."""
    found = []
    for path in sorted((phase_dir / "calibration").glob("*.json")):
        calibration = read_calibration(path)
        found.append({"backend": path.stem, "qualities": calibration.qualities, **calibration._asdict()})
    return found


def stages(data: Path, exp: Path, phases: Iterable[str]) -> list[dict[str, Any]]:
    """From the records of data and experiment, for each stage: seconds over all parts, date and command of the last.
    Parts of phases other than these are left out: an earlier run made them."""
    others = {name for phase in {*PHASES} - {*phases} for name in (f"5.{phase}", str(TRAINED.get(phase)))}
    found: dict[str, dict[str, Any]] = {}
    for part, record in (item for home in (data, exp) for item in read_all(home)):
        if ".".join(part.split(".")[:2]) in others:
            continue
        stage = part.split(".")[0]
        entry = found.setdefault(stage, {"stage": stage, "seconds": 0, "date": "", "command": ""})
        entry["seconds"] += record["seconds"]
        if record["date"] >= entry["date"]:
            entry |= {"date": record["date"], "command": record["command"]}
    return [found[stage] for stage in sorted(found)]


def versions() -> dict[str, str]:
    """Python, the machine, and the packages of requirements.txt."""
    found = {"Python": platform.python_version(),
             "machine": f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} cores"}
    for line in REQUIREMENTS.read_text().splitlines():
        if name := re.match(r"[\w-]+", line):
            try:
                found[name[0]] = version(name[0])
            except PackageNotFoundError:
                found[name[0]] = "not installed"
    return found


def _count(path: Path) -> int:
    return sum(1 for _ in lines(path)) if path.exists() else 0


def _entry(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or "epoch" not in entry:
        raise UserError(f"{path}:{number}: expected an epoch's numbers as JSON, found {line[:80]!r}")
    return entry
