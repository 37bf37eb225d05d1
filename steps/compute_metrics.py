#!/usr/bin/env python3
"""EER and minDCF of scored trials.

Reads SCORES (`id1 id2 score`) and TRIALS (`id1 id2 target|nontarget`). Prints a line, or with --json all figures: EERs
in percent, minDCF normalised, n_lost the trials of the list without a score.

    steps/compute_metrics.py exp/small/triplet/scores/test/trials.cosine data/test/trials
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.command import run
from deepspeaker.metrics import compute_metrics
from deepspeaker.scoring.scores import labelled_scores


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, metavar="SCORES")
    parser.add_argument("trials", type=Path, metavar="TRIALS")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    scores, labels, lost = labelled_scores(args.scores, args.trials)
    metrics = compute_metrics(scores, labels) | {"n_lost": lost}
    if args.json:
        print(json.dumps(metrics, indent=1))
    else:
        print(f"EER {metrics['eer']:.2f} %  minDCF {metrics['min_dcf_0.01']:.4f} (prior 0.01) "
              f"{metrics['min_dcf_0.001']:.4f} (prior 0.001)  {metrics['n_target']} target, "
              f"{metrics['n_nontarget']} nontarget, {lost} lost")


if __name__ == "__main__":
    run(main)
