#!/usr/bin/env python3
"""Print the results of an experiment as a small table, the paths of its report and model, and a command to try next.

Reads EXP_DIR/results.tsv, and wav.scp of a test set in DATA for two sound files to try the model on. Writes nothing.

    steps/show_results.py --data data exp/small
"""

import argparse
import shlex
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.audio.content import is_file
from deepspeaker.datadir import read_table
from deepspeaker.errors import run
from deepspeaker.recipe.results import as_text, read_results

PATH_SH = Path(__file__).resolve().parents[1] / "path.sh"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp_dir", type=Path, metavar="EXP_DIR")
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder of the data directories")
    args = parser.parse_args()

    rows = read_results(args.exp_dir / "results.tsv")
    print(f"\n{as_text(rows)}\n\nresults  {args.exp_dir}/results.tsv")
    for what, name in (("report", "report.html"), ("model", "model.pt")):
        if (args.exp_dir / name).exists():
            print(f"{what:8} {args.exp_dir / name}")
    if (args.exp_dir / "model.pt").exists():
        sounds = shlex.join(two_files(args.data / rows[0]["set"]) or ["a.wav", "b.wav"])
        print(f"try      . {shlex.quote(str(PATH_SH))}; python3 -m deepspeaker verify "
              f"{shlex.quote(str(args.exp_dir / 'model.pt'))} {sounds}")


def two_files(directory: Path) -> list[str]:
    """The first two sound files of a data directory; none where it has fewer."""
    wav = directory / "wav.scp"
    entries = read_table(wav).values() if wav.exists() else []
    found = list(islice(filter(is_file, entries), 2))
    return found if len(found) == 2 else []


if __name__ == "__main__":
    run(main)
