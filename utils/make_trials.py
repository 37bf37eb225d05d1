#!/usr/bin/env python3
"""Make a trial list from a data directory's speakers.

    utils/make_trials.py --targets 10000 --nontargets 10000 data/test

Reads DATA_DIR/utt2spk and, where it is there, DATA_DIR/spk2gender: nontarget trials are then of one gender. Writes OUT,
sorted. Trials are shared evenly over the speakers; the same seed gives the same list.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.datadir import read_table
from deepspeaker.datadir.trials import make_trials, write_trials
from deepspeaker.errors import run


def count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=count,
                        help="largest number of target trials (default: all pairs)")
    parser.add_argument("--nontargets", type=count,
                        help="largest number of nontarget trials (default: as many as target trials)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the trials drawn (default %(default)s)")
    parser.add_argument("data_dir", type=Path, metavar="DATA_DIR")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="trial list (default: DATA_DIR/trials)")
    args = parser.parse_args()
    genders = args.data_dir / "spk2gender"
    spk2gender = read_table(genders) if genders.exists() else None
    utt2spk = read_table(args.data_dir / "utt2spk")
    trials = make_trials(utt2spk, spk2gender, args.targets, args.nontargets, args.seed)
    out = args.out or args.data_dir / "trials"
    write_trials(out, trials)
    targets = sum(trial.target for trial in trials)
    print(f"{out}: {targets} target and {len(trials) - targets} nontarget trials")


if __name__ == "__main__":
    run(main)
