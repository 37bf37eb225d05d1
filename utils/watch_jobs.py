#!/usr/bin/env python3
"""One progress bar for the jobs that report in DIR/progress.1 .. DIR/progress.NJ.

    utils/watch_jobs.py "fbank of train" data/train/log 4
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.extraction.parallel_jobs import progress_file, watch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("title", metavar="TITLE")
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("nj", type=int, metavar="NJ")
    args = parser.parse_args()
    watch([progress_file(args.dir, job) for job in range(1, args.nj + 1)], args.title)


if __name__ == "__main__":
    run(main)
