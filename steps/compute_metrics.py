#!/usr/bin/env python3
"""Compute metrics of a scored trial list.

Reads SCORES (lines `id1 id2 score`) and TRIALS. Prints the main metrics in one line, or with --json all: EERs,
misses, false accepts, top_N in percent, minDCF and actDCF normalised, Cllr in bits, n_lost the trials of the list
without a score. With --utt2spk also NAME_low and NAME_high, the ends of 95 % intervals by the bootstrap over speakers
(null with fewer than five).

    steps/compute_metrics.py exp/small/triplet/scores/test/trials.cosine data/test/trials
    steps/compute_metrics.py --json --utt2spk data/test/utt2spk --breakdown data/test/utt2dur \\
        --llr exp/small/triplet/llr/test/trials.cosine exp/small/triplet/scores/test/trials.cosine data/test/trials
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.metrics.describe import describe
from deepspeaker.scoring.calibration import PRIOR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, metavar="SCORES")
    parser.add_argument("trials", type=Path, metavar="TRIALS")
    parser.add_argument("--json", action="store_true", help="print all metrics as JSON")
    parser.add_argument("--llr", type=Path, metavar="FILE", help="natural-log likelihood ratios of the trials")
    parser.add_argument("--prior", type=float, metavar="P",
                        help="target prior at which decisions are made: adds its actDCF, misses and false accepts to "
                             "those at 0.5, 0.05, 0.01 and 0.001; needs --llr")
    parser.add_argument("--utt2spk", type=Path, metavar="FILE",
                        help="speakers of the utterances: adds intervals and identification")
    parser.add_argument("--enroll", type=Path, metavar="FILE",
                        help="speaker models and their utterances: first ids of trials are then models")
    parser.add_argument("--breakdown", action="append", default=[], metavar="FILE[:COLUMN]",
                        help="table utt2... or spk2... by which errors are broken down; needs --utt2spk; may be "
                             "given several times")
    args = parser.parse_args()
    if args.breakdown and not args.utt2spk:
        parser.error("--breakdown needs --utt2spk")

    found = describe(args.scores, args.trials, args.llr, args.utt2spk, args.enroll, args.breakdown, args.prior)
    if args.json:
        print(json.dumps(found, indent=1))
        return
    low, high = found.get("eer_low"), found.get("eer_high")
    print(f"EER {found['eer']:.2f} %{f' ({low:.2f} to {high:.2f})' if low is not None else ''}  "
          f"minDCF {found['min_dcf_0.01']:.4f} (prior 0.01) {found['min_dcf_0.001']:.4f} (prior 0.001)  "
          f"{found['n_target']} target, {found['n_nontarget']} nontarget, {found['n_lost']} lost")
    if args.llr:
        priors = [args.prior or PRIOR, 0.5]
        print(*[f"decisions at prior {p:g}: {found[f'miss_at_prior_{p}']:.2f} % misses, "
                f"{found[f'false_accept_at_prior_{p}']:.2f} % false accepts, actDCF {found[f'act_dcf_{p}']:.4f}"
                for p in dict.fromkeys(priors)], sep="\n")


if __name__ == "__main__":
    run(main)
