#!/usr/bin/env python3
"""Check data directories before anything is trained or tested on them; nothing is written.

    utils/check_data.py --train data/train data/dev data/test
    utils/check_data.py --trials-only data/test

Reads wav.scp, utt2spk, segments, trials* and enroll of each, and the header of every sound file; runs no command of
wav.scp. Prints errors, which would break or falsify a result (status 1), and warnings (status 0), each with
up to five examples and what to do. With --train, that directory is checked as well, and no other may share speakers or
audio with it. With --trials-only, reads utt2spk, trials* and enroll alone.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.corpus.check import check_data, check_trial_lists
from deepspeaker.errors import run


def jobs(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, metavar="DIR",
                        help="training set, with which the others may share no speakers or audio")
    parser.add_argument("--trials-only", action="store_true", help="check trial lists alone, without --train")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--nj", type=jobs, default=os.cpu_count() or 1,
                        help="number of files read at a time (default %(default)s)")
    parser.add_argument("directories", type=Path, nargs="*", metavar="DATA_DIR")
    args = parser.parse_args()
    if not args.directories and not args.train:
        parser.error("expected a data directory")
    if args.train and args.trials_only:
        parser.error("--trials-only goes without --train")
    findings = (check_trial_lists(args.directories) if args.trials_only else
                check_data(args.directories, args.train, args.nj))
    found = findings.as_dict()
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else findings.as_text())
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    run(main)
