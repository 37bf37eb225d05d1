#!/usr/bin/env python3
"""Split a development set off the training set, by speaker.

    utils/split_dev.py data

Reads DATA/train. Writes DATA/dev with its trials, and DATA/train without the speakers of DATA/dev: 2 % of the speakers,
or 40 if that is more (10 % of a small corpus), drawn from those with four utterances or more. DATA/dev has at most 20
utterances of each and at most 20,000 trials. Does nothing if DATA/dev is there and shares no speaker with DATA/train.
Deletes augmented copies of an earlier DATA/train.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.corpus.augmented_copies import remove_copies
from deepspeaker.corpus.holdout import split_dev
from deepspeaker.datadir import read_table
from deepspeaker.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0,
                        help="seed of the speakers, utterances and trials drawn (default %(default)s)")
    parser.add_argument("data", type=Path, metavar="DATA")
    args = parser.parse_args()
    remove_copies(args.data / "train")
    done = split_dev(args.data, args.seed)
    for name in ("train", "dev"):
        utt2spk = read_table(args.data / name / "utt2spk")
        print(f"{args.data / name}: {len(set(utt2spk.values()))} speakers, {len(utt2spk)} utterances"
              f"{'' if done else ', split already'}")


if __name__ == "__main__":
    run(main)
