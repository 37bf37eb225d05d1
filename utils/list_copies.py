#!/usr/bin/env python3
"""List the augmented copies of a data directory.

    utils/list_copies.py --speeds "0.9 1.1" "speed noise reverb" data/train

Reads no file. Prints one line per copy: its kind, its speed or the sounds it needs, and its directory; here
`speed 0.9 data/train_sp0.9`, `speed 1.1 data/train_sp1.1`, `noise musan data/train_noise` and
`reverb rirs data/train_reverb`.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.corpus.augmented_copies import KINDS, copies
from deepspeaker.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speeds", default="", help="speed factors of the kind 'speed', separated by blanks")
    parser.add_argument("kinds", metavar="KINDS", help=f"kinds of copies, of '{' '.join(KINDS)}'")
    parser.add_argument("data_dir", metavar="DATA_DIR")
    args = parser.parse_args()
    for copy in copies(args.kinds.split(), [float(speed) for speed in args.speeds.split()], args.data_dir):
        print(copy.kind, KINDS[copy.kind] or f"{copy.speed:g}", copy.name)


if __name__ == "__main__":
    run(main)
