#!/usr/bin/env python3
"""What tests/gpu.sh found: a part of it adds rows while it runs; in the end all become results.json and a table.

    tests/gpu_table.py OUT

OUT/parts/NAME.status has a part's exit status and seconds, NAME.jsonl its rows, NAME.log what it printed. Ends with
status 1 if a part failed or an aim is missed.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

SKIPPED = 77  # exit status of a part that cannot run here; the last line of its log says why
ENDINGS = {0: "ran", SKIPPED: "not run", 124: "ran out of time", 137: "ran out of time"}


class Row(NamedTuple):
    """A figure, beside its aim if it has one."""

    what: str
    found: float | str
    at_least: float | None = None
    at_most: float | None = None
    more: dict[str, object] = {}  # other figures of the same measurement

    def missed(self) -> bool:
        """Also by nan."""
        low, high = self.at_least, self.at_most
        return (low is not None and not self.found >= low) or (high is not None and not self.found <= high)

    def aim(self) -> str:
        if self.at_least is not None:
            return f">= {number(self.at_least)}"
        return "" if self.at_most is None else f"<= {number(self.at_most)}"

    def line(self) -> str:
        more = ", ".join(f"{name} {number(value)}" for name, value in self.more.items())
        missed = "MISSED" if self.missed() else ""
        return f"  {self.what:46} {number(self.found):>10}  {self.aim():>9} {missed:6}  {more}".rstrip()


def number(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def add_row(path: Path, row: Row) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row._asdict()) + "\n")


def part(path: Path) -> dict:
    """A part, from its file NAME.status and those beside it."""
    status, seconds = map(int, path.read_text().split())
    rows, log = path.with_suffix(".jsonl"), path.with_suffix(".log").read_text().splitlines()
    found = [json.loads(line) for line in rows.open()] if rows.exists() else []
    return {"ended": ENDINGS.get(status, f"failed with status {status}"), "seconds": seconds,
            "last_line": log[-1] if log and (status or not found) else "", "rows": found}


def main(out: Path) -> int:
    files = sorted((out / "parts").glob("*.status"), key=lambda path: path.stat().st_mtime)
    parts = {path.stem: part(path) for path in files}
    (out / "results.json").write_text(json.dumps(parts, indent=1) + "\n")
    bad = [name for name, found in parts.items() if found["ended"] not in ("ran", "not run")]
    missed = 0
    for name, found in parts.items():
        print(f"{name}: {found['ended']}, {found['seconds']} s  {found['last_line']}".rstrip())
        for row in (Row(**row) for row in found["rows"]):
            print(row.line())
            missed += row.missed()
    print(f"{len(parts)} parts, failed: {', '.join(bad) or 'none'}; aims missed: {missed}; see {out}/results.json")
    return int(bool(bad or missed))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
