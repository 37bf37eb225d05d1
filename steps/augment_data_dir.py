#!/usr/bin/env python3
"""A copy of a data directory at another speed, its speakers new ones: sp0.9-SPEAKER says sp0.9-UTTERANCE.

Reads SOURCE. Writes TARGET, without features and without audio of its own: the file `augment` (`utterance speed 0.9`)
says what is done to the original's audio when it is read.

    steps/augment_data_dir.py --speed 0.9 data/train data/train_sp0.9
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.command import UserError, run
from deepspeaker.datadir.copy import copied
from deepspeaker.datadir.tables import FEATURE_FILES, keys, replace_files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("target", type=Path, metavar="TARGET")
    parser.add_argument("--speed", type=float, required=True, help="1.1: a tenth faster")
    args = parser.parse_args()
    if not 0.5 <= args.speed <= 2:
        raise UserError(f"--speed: expected 0.5 to 2, found {args.speed}")
    if (args.source / "augment").exists():
        raise UserError(f"{args.source} is augmented already (it has a file augment): start from the original")

    around = (f"sp{args.speed:g}-".encode(), b"")
    files = {name: lines for name, lines in copied(args.source, around, around).items() if name not in FEATURE_FILES}
    utterances = keys(files["utt2spk"], args.target / "utt2spk")
    files["augment"] = [utterance + f" speed {args.speed:g}".encode() for utterance in utterances]
    replace_files(args.target, files)
    print(f"{args.target}: {len(files['utt2spk'])} utterances of {args.source} at {args.speed:g} times their speed")


if __name__ == "__main__":
    run(main)
