#!/usr/bin/env python3
"""One table of all results of an experiment, and the model as one file.

Reads EXP_DIR/PHASE/scores/SET/TRIALS.BACKEND.json, as compute_metrics.py --json prints it, and of EXP_DIR/triplet
final.pt and calibration/BACKEND.json; the calibrations and the [embedding] and [scoring] of --conf go into the model.
Writes EXP_DIR/results.tsv and EXP_DIR/model.pt, and prints the table.

    steps/collect_results.py --conf conf/small.toml exp/small
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.checkpoint import write_model
from deepspeaker.command import run
from deepspeaker.config import load_config
from deepspeaker.results import collect, write_results
from deepspeaker.scoring.calibration import read_calibration


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp_dir", type=Path, metavar="EXP_DIR")
    parser.add_argument("--conf", type=Path, required=True)
    args = parser.parse_args()

    rows = collect(args.exp_dir)
    write_results(args.exp_dir / "results.tsv", rows)
    print((args.exp_dir / "results.tsv").read_text(), end="")
    trained = args.exp_dir / "triplet" / "final.pt"
    if trained.exists():
        calibration = {path.stem: read_calibration(path)._asdict()
                       for path in sorted((args.exp_dir / "triplet/calibration").glob("*.json"))}
        write_model(args.exp_dir / "model.pt", trained, load_config(args.conf), rows, calibration)


if __name__ == "__main__":
    run(main)
