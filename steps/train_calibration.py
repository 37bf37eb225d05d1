#!/usr/bin/env python3
"""Fit a calibration, which turns scores into log-likelihood ratios, on a development set.

Reads TRIALS, their SCORES and --quality files (lines `id1 id2 value`, named ANYTHING.QUALITY), and utt2spk,
utt2condition and enroll beside TRIALS: with utt2spk each speaker and each pair of speakers counts once, without it each
trial. Writes CALIBRATION as JSON: llr = offset + weights.score * score, plus weights.QUALITY * value and
weights.score*QUALITY * score * value for each quality that lowers Cllr on speakers held out, within bounds.

    steps/train_calibration.py data/dev/trials exp/small/triplet/scores/dev/trials.cosine cosine.json
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.metrics.sides import read_evidence
from deepspeaker.scoring.calibration import PRIOR, write_calibration
from deepspeaker.scoring.evidence import learn
from deepspeaker.scoring.score_files import read_measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path, metavar="TRIALS")
    parser.add_argument("scores", type=Path, metavar="SCORES")
    parser.add_argument("calibration", type=Path, metavar="CALIBRATION")
    parser.add_argument("--quality", type=Path, nargs="+", default=[], metavar="FILE",
                        help="qualities of the trials, as measure_quality.py writes them")
    parser.add_argument("--prior", type=float, default=PRIOR,
                        help="target prior at which decisions are made (default %(default)s)")
    args = parser.parse_args()

    trials, columns = read_measured(args.trials, args.scores, args.quality)
    calibration, lines = learn(read_evidence(args.trials.parent, trials, columns), args.prior)
    args.calibration.parent.mkdir(parents=True, exist_ok=True)
    write_calibration(args.calibration, calibration)
    terms = " + ".join(f"{weight:.4g} {name}" for name, weight in calibration.weights.items())
    print(f"{args.calibration}: llr = {calibration.offset:.4g} + {terms}, {len(trials.first)} trials")
    for line in lines:
        print(f"{args.calibration}: {line}")


if __name__ == "__main__":
    run(main)
