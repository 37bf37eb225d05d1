#!/usr/bin/env python3
"""Turn scores into log-likelihood ratios.

Reads CALIBRATION (of train_calibration.py), TRIALS, their SCORES, and a --quality file for each quality in CALIBRATION.
Writes LLR: lines `id1 id2 llr`, natural logarithms, in the order of TRIALS.

    steps/calibrate_scores.py cosine.json data/test/trials exp/small/triplet/scores/test/trials.cosine llr
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.scoring.calibration import apply, read_calibration
from deepspeaker.scoring.score_files import read_measured, write_scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibration", type=Path, metavar="CALIBRATION")
    parser.add_argument("trials", type=Path, metavar="TRIALS")
    parser.add_argument("scores", type=Path, metavar="SCORES")
    parser.add_argument("llr", type=Path, metavar="LLR")
    parser.add_argument("--quality", type=Path, nargs="+", default=[], metavar="FILE",
                        help="qualities of the trials, as measure_quality.py writes them")
    args = parser.parse_args()

    trials, columns = read_measured(args.trials, args.scores, args.quality)
    args.llr.parent.mkdir(parents=True, exist_ok=True)
    write_scores(args.llr, trials, apply(read_calibration(args.calibration), columns))
    print(f"{args.llr}: {len(trials.first)} log-likelihood ratios")


if __name__ == "__main__":
    run(main)
