#!/usr/bin/env python3
"""Compare two systems' scores of one trial list: each metric's difference B - A with its 95 % interval.

Reads SCORES_A and SCORES_B (lines `id1 id2 score`) and TRIALS. Prints a table, or JSON. The bootstrap draws the same
speakers for both systems, so a difference can be significant where the intervals of A and B overlap: it is when its own
interval excludes 0. With --also, once for each further training seed, the metrics' means over the seeds are compared.

    steps/compare_scores.py exp/small/softmax/scores/test/trials.cosine exp/small/triplet/scores/test/trials.cosine \\
        data/test/trials
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.metrics.compare import compare
from deepspeaker.metrics.describe import read_alike
from deepspeaker.metrics.sides import trial_sides
from deepspeaker.scoring.score_files import read_scored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores_a", type=Path, metavar="SCORES_A")
    parser.add_argument("scores_b", type=Path, metavar="SCORES_B")
    parser.add_argument("trials", type=Path, metavar="TRIALS")
    parser.add_argument("--also", type=Path, nargs=2, action="append", default=[], metavar=("SCORES_A", "SCORES_B"),
                        help="scores of both systems from another training seed; may be given several times")
    parser.add_argument("--utt2spk", type=Path, metavar="FILE",
                        help="speakers of the utterances (default: utt2spk beside TRIALS)")
    parser.add_argument("--enroll", type=Path, metavar="FILE",
                        help="speaker models and their utterances: first ids of trials are then models")
    parser.add_argument("--llr", action="store_true", help="take the scores for natural-log likelihood ratios")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()

    first = read_scored(args.scores_a, args.trials)
    a = [first.scores, *(read_alike(other, args.trials, first) for other, _ in args.also)]
    b = [read_alike(path, args.trials, first) for path in (args.scores_b, *(other for _, other in args.also))]
    sides = trial_sides(first.trials, args.utt2spk or args.trials.parent / "utt2spk", args.enroll)
    found = compare(a, b, first.trials.targets, sides.speakers, args.llr)
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{'':16}{'A':>9}{'B':>9}{'B - A':>9}   95 % interval")
    for name, row in found.items():
        ends = "too few speakers" if row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}"
        print(f"{name:16}{row['a']:9.3f}{row['b']:9.3f}{row['difference']:+9.3f}   {ends}")


if __name__ == "__main__":
    run(main)
