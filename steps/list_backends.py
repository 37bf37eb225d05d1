#!/usr/bin/env python3
"""Print the back-ends that a training set is large enough for, from which [scoring] backends = "auto" chooses.

Reads CONF and TRAIN_DIR/utt2spk. Prints their names on one line, and on standard error why others are left out.

    steps/list_backends.py conf/small.toml data/train
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.recipe.early import possible_backends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conf", type=Path, metavar="CONF")
    parser.add_argument("train_dir", type=Path, metavar="TRAIN_DIR")
    args = parser.parse_args()

    found = possible_backends(args.conf, args.train_dir)
    for name, why in found.items():
        if why:
            print(f"{name} is left out: {why}", file=sys.stderr)
    print(*[name for name, why in found.items() if not why])


if __name__ == "__main__":
    run(main)
