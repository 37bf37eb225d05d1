#!/usr/bin/env python3
"""Make the report of an experiment: results with intervals, DET and training curves, the worst errors, all settings.

Reads DATA (folder of the data directories), EXP_DIR/PHASE/{train.jsonl,embeddings,scores,llr} and the records of the
stages in both. Writes EXP_DIR/report.html, one file that needs no other.

    steps/make_report.py --conf conf/small.toml data exp/small
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.recipe.phases import ALL, networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("exp_dir", type=Path, metavar="EXP_DIR")
    parser.add_argument("--conf", type=Path, required=True, metavar="FILE", help="configuration to show")
    parser.add_argument("--phases", default=ALL, metavar="NAMES",
                        help="phases that were trained (default: %(default)s)")
    parser.add_argument("--init", default="", metavar="CHECKPOINT",
                        help="network that the first of them started from (default: random weights)")
    args = parser.parse_args()

    from deepspeaker.atomic import atomic
    from deepspeaker.config import load_config
    from deepspeaker.recipe.report import make_report

    phases = [*networks(args.exp_dir, args.phases, args.init)]
    page = make_report(args.data, args.exp_dir.resolve(), load_config(args.conf), phases)
    report = args.exp_dir / "report.html"
    with atomic(report) as file:
        file.write(page)
    print(f"{report}: {len(page.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
