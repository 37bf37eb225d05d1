#!/usr/bin/env python3
"""Show one progress bar for several jobs.

    utils/watch_jobs.py "fbank of train" data/train/log 4

Reads DIR/progress.1 to DIR/progress.NJ, which the jobs write, until it is ended. Writes to standard error.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.extraction.parallel_jobs import progress_file, watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("title", metavar="TITLE")
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("nj", type=int, metavar="NJ")
    args = parser.parse_args()
    watch([progress_file(args.dir, job) for job in range(1, args.nj + 1)], args.title)


if __name__ == "__main__":
    run(main)
