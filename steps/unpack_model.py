#!/usr/bin/env python3
"""Unpack what a model decides with: its back-end and calibration, as files that the other steps read.

Reads MODEL. Writes OUT_DIR/{backend,qualities,calibration.json} and, where the back-end needs them, cohort.{ark,scp}
and plda/; for a checkpoint without calibration an empty OUT_DIR.

    steps/unpack_model.py exp/small/model.pt unpacked
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    args = parser.parse_args()

    from deepspeaker.inference.model_file import unpack

    print(unpack(args.model, args.out_dir))


if __name__ == "__main__":
    run(main)
