#!/usr/bin/env python3
"""Write a configuration file: that of a checkpoint, or a copy of one with some values changed.

Reads CHECKPOINT or CONF. Writes the second CONF.

    steps/write_conf.py exp/small/triplet/final.pt trained.toml
    steps/write_conf.py --set 'softmax.margin=0 augment.copies=["speed"]' conf/small.toml plain.toml
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.checkpoint import load_network
from deepspeaker.config import load_config, set_values, write_config
from deepspeaker.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="CHECKPOINT|CONF")
    parser.add_argument("conf", type=Path, metavar="CONF")
    parser.add_argument("--set", default="", metavar="SECTION.KEY=VALUE...",
                        help="changed values, separated by blanks and written as in TOML")
    args = parser.parse_args()
    config = load_config(args.source) if args.source.suffix == ".toml" else load_network(args.source).config
    write_config(args.conf, set_values(config, args.set.split()))


if __name__ == "__main__":
    run(main)
