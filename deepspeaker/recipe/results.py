"""results.tsv: a row for each test set, trial list, phase and back-end."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deepspeaker.atomic import atomic
from deepspeaker.datadir import lines
from deepspeaker.errors import UserError
from deepspeaker.recipe.phases import PHASES

PERCENT, COST = "{:.3f}", "{:.4f}"
FORMATS = {"set": "{}", "trials": "{}", "phase": "{}", "backend": "{}", "eer": PERCENT, "min_dcf_0.01": COST,
           "min_dcf_0.001": COST, "n_target": "{}", "n_nontarget": "{}", "n_lost": "{}", "eer_low": PERCENT,
           "eer_high": PERCENT, "min_dcf_0.01_low": COST, "min_dcf_0.01_high": COST, "min_dcf_0.05": COST,
           "miss_at_fa_0.01": PERCENT, "act_dcf_0.01": COST, "cllr": COST, "min_cllr": COST, "top_1": PERCENT,
           "top_5": PERCENT, "min_dcf_0.5": COST, "act_dcf_0.5": COST, "act_dcf_0.01_low": COST,
           "act_dcf_0.01_high": COST}
NONE = "-"  # no value: intervals need enough speakers, and Cllr, for example, needs likelihood ratios
SHOWN = ("eer", "min_dcf_0.01", "eer_low", "eer_high")  # figures on the terminal
HEADER = ("test set", "phase", "back-end", "EER, %", "95 % interval", "minDCF (prior 0.01)")


def collect(exp_dir: Path, phases: Iterable[str]) -> list[dict[str, Any]]:
    """A row of metrics for each score file of these phases, sorted by set, trials, phase and back-end."""
    rows: list[dict[str, Any]] = []
    for path in (path for phase in phases for path in exp_dir.glob(f"{phase}/scores/*/*.*.json")):
        phase, _, name, file = path.relative_to(exp_dir).parts
        trials, backend = file.removesuffix(".json").rsplit(".", 1)
        rows.append({"set": name, "trials": trials, "phase": phase, "backend": backend, **_metrics(path)})
    if not rows:
        raise UserError(f"no metrics under {exp_dir}: score the trials first (stage 6)")
    return sorted(rows, key=lambda row: (row["set"], row["trials"], PHASES.index(row["phase"]), row["backend"]))


def _metrics(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected metrics in JSON, found something else: score the trials again (stage 6)")
    return found


def write_results(path: str | os.PathLike[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write the rows of `collect` with a header, separated by tabs; rates in percent."""
    with atomic(path) as file:
        file.write("\t".join(FORMATS) + "\n")
        file.writelines("\t".join(_cell(row.get(key), form) for key, form in FORMATS.items()) + "\n" for row in rows)


def read_results(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The rows of results.tsv, column -> text. UserError for a missing or damaged file."""
    table = [(number, line.split("\t")) for number, line in lines(path)]
    header = table[0][1] if table else []
    again = "make it again (run.sh --stage 6)"
    if missing := [name for name in ("set", "trials", "phase", "backend", *SHOWN) if name not in header]:
        raise UserError(f"{path}:1: expected the names of columns, found none {', '.join(missing)}: {again}")
    if len(table) < 2:
        raise UserError(f"{path}: expected a row for each trial list, found none: {again}")
    rows = []
    for number, cells in table[1:]:
        if len(cells) != len(header):
            raise UserError(f"{path}:{number}: expected {len(header)} columns, found {len(cells)}: {again}")
        rows.append(dict(zip(header, cells, strict=True)))
        for name in SHOWN:
            if not _is_figure(rows[-1][name]):
                raise UserError(f"{path}:{number}: {name}: expected a number, found '{rows[-1][name]}': {again}")
    return rows


def as_text(rows: Iterable[Mapping[str, str]]) -> str:
    """The rows of read_results as an aligned table of the main columns, for the terminal."""
    cells = [HEADER]
    for row in rows:
        interval = NONE if row["eer_low"] == NONE else f"{float(row['eer_low']):.2f} to {float(row['eer_high']):.2f}"
        where = row["set"] if row["trials"] == "trials" else f"{row['set']}/{row['trials']}"
        cells.append((where, row["phase"], row["backend"], f"{float(row['eer']):.2f}", interval,
                      f"{float(row['min_dcf_0.01']):.3f}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [[cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))] for row in cells]
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def _is_figure(cell: str) -> bool:
    try:
        float("0" if cell == NONE else cell)
    except ValueError:
        return False
    return True


def _cell(value: object, form: str) -> str:
    return NONE if value is None else form.format(value)
