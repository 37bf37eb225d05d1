#!/usr/bin/env python3
"""Check data directories before anything is trained or tested on them; nothing is written.

    utils/check_data.py --train data/train data/dev data/test

Reads wav.scp, utt2spk and, where they are there, segments, trials* and enroll, and every sound file's header (a
command in wav.scp is not run). Prints what would break or falsify a result (errors; status 1) and what is good to
know (warnings; status 0), with up to five examples of each and what to do. With --train, no other directory may share
speakers or audio with that one, which is checked, too.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.corpus.check import check_data
from deepspeaker.errors import run


def jobs(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, metavar="DIR", help="what the others may share nothing with")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--nj", type=jobs, default=os.cpu_count() or 1, help="files read at a time (%(default)s)")
    parser.add_argument("directories", type=Path, nargs="*", metavar="DATA_DIR")
    args = parser.parse_args()
    if not args.directories and not args.train:
        parser.error("expected a data directory")
    findings = check_data(args.directories, args.train, args.nj)
    found = findings.as_dict()
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else findings.as_text())
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    run(main)
