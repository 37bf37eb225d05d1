#!/usr/bin/env python3
"""Join a development set and its copies in other conditions into the set that calibrations are fitted on.

Reads DEV_DIR/{trials,utt2spk,spk2gender,enroll} and the same of its copies DEV_DIR_CONDITION, and their embeddings,
EMBEDDINGS/SET/embedding.scp. Writes OUT_DIR/{trials,embedding.scp,utt2spk,utt2condition,utt2dur,utt2quality}: the
targets of DEV_DIR/trials in every combination of conditions, and nontargets of the speakers that are most alike, of one
gender where DEV_DIR knows it.

    steps/make_calibration_set.py --conditions "noise reverb" data/dev exp/small/triplet/embeddings \\
        exp/small/triplet/embeddings/calibration
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.scoring.calibration_set import Condition, make_set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dev_dir", type=Path, metavar="DEV_DIR")
    parser.add_argument("embeddings", type=Path, metavar="EMBEDDINGS")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("--conditions", default="", metavar="NAMES", help="copies of DEV_DIR to use (none)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the trials (default %(default)s)")
    args = parser.parse_args()

    sets = {"clean": args.dev_dir} | {name: args.dev_dir.with_name(f"{args.dev_dir.name}_{name}")
                                      for name in args.conditions.split()}
    conditions = {name: Condition(data, args.embeddings / data.name / "embedding.scp") for name, data in sets.items()}
    print(make_set(conditions, args.out_dir, args.seed))


if __name__ == "__main__":
    run(main)
