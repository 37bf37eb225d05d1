#!/usr/bin/env python3
"""Whether the disk has room for the features of data directories, by the lengths of some of their recordings.

Reads each DATA_DIR's wav.scp (or segments). One line on standard output, or an error.

    steps/check_space.py --conf conf/small.toml --copies data/train 'train_sp0.9 train_noise' fbank data/train data/dev
"""

import argparse
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.recipe.disk_space import check_space


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conf", type=Path, required=True)
    parser.add_argument("--copies", nargs=2, default=("", ""), metavar=("DATA_DIR", "NAMES"),
                        help="copies of a data directory that are to be made, too")
    parser.add_argument("ark_dir", type=Path, metavar="ARK_DIR")
    parser.add_argument("data_dirs", type=Path, nargs="*", metavar="DATA_DIR")
    args = parser.parse_args()
    features = tomllib.loads(args.conf.read_text(encoding="utf-8"))["features"]
    source, names = args.copies
    audio = {directory.name: directory for directory in args.data_dirs} | dict.fromkeys(names.split(), Path(source))
    print(check_space(features, audio, args.ark_dir))


if __name__ == "__main__":
    run(main)
