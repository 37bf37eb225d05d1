"""results.tsv: one row for each test set, trial list, phase and back-end."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from deepspeaker.command import UserError
from deepspeaker.files import atomic

PHASES = ("untrained", "softmax", "triplet")
FORMATS = {"set": "{}", "trials": "{}", "phase": "{}", "backend": "{}", "eer": "{:.3f}", "min_dcf_0.01": "{:.4f}",
           "min_dcf_0.001": "{:.4f}", "n_target": "{}", "n_nontarget": "{}", "n_lost": "{}"}


def collect(exp_dir: Path) -> list[dict]:
    """The metrics of all score files under EXP_DIR, by set, trials, phase and back-end."""
    rows = []
    for path in exp_dir.glob("*/scores/*/*.json"):
        phase, _, name, file = path.relative_to(exp_dir).parts
        trials, backend = file.removesuffix(".json").rsplit(".", 1)
        rows.append({"set": name, "trials": trials, "phase": phase, "backend": backend, **json.loads(path.read_text())})
    if not rows:
        raise UserError(f"no metrics under {exp_dir}: score the trials first (stage 6)")
    return sorted(rows, key=lambda row: (row["set"], row["trials"], PHASES.index(row["phase"]), row["backend"]))


def write_results(path: str | os.PathLike, rows: Iterable[Mapping]) -> None:
    """Tab-separated, with a header; EER in percent."""
    with atomic(path) as file:
        file.write("\t".join(FORMATS) + "\n")
        file.writelines("\t".join(form.format(row[key]) for key, form in FORMATS.items()) + "\n" for row in rows)
