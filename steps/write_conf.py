#!/usr/bin/env python3
"""Write the configuration a checkpoint was trained with as a TOML file.

    steps/write_conf.py exp/small/triplet/final.pt trained.toml
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.checkpoint import load_model
from deepspeaker.command import run
from deepspeaker.config import write_config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("conf", type=Path, metavar="CONF")
    args = parser.parse_args()
    write_config(args.conf, load_model(args.checkpoint).config)


if __name__ == "__main__":
    run(main)
