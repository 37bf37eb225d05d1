#!/usr/bin/env python3
"""Measure qualities of a list's trials, such as duration, from which a calibration learns how far to trust a score.

Reads TRIALS, EMBEDDING_SCP and --enroll as score_trials.py does, and utt2dur and utt2quality beside TRIALS. Writes
STEM.QUALITY_smaller and STEM.QUALITY_larger, for the trials' two sides, each as lines `id1 id2 value`.

    steps/measure_quality.py --quality log_duration data/test/trials exp/small/triplet/embeddings/test/embedding.scp \\
        exp/small/triplet/quality/test/trials
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.datadir import read_table
from deepspeaker.errors import UserError, run
from deepspeaker.scoring.asnorm import COHORT_TOP
from deepspeaker.scoring.inputs import read_embeddings, read_task
from deepspeaker.scoring.needs import needs
from deepspeaker.scoring.quality import QUALITIES, TABLE, measure, read_qualities
from deepspeaker.scoring.score_files import write_scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path, metavar="TRIALS")
    parser.add_argument("embedding_scp", type=Path, metavar="EMBEDDING_SCP")
    parser.add_argument("stem", type=Path, metavar="STEM")
    parser.add_argument("--quality", choices=QUALITIES, nargs="+", required=True, help="qualities to measure")
    parser.add_argument("--enroll", type=Path, metavar="FILE",
                        help="speaker models and their utterances: first ids of trials are then models")
    parser.add_argument("--cohort", type=Path, metavar="SCP",
                        help="spk_embedding.scp of the training set, for cohort_mean")
    parser.add_argument("--cohort-top", type=int, metavar="N", default=COHORT_TOP,
                        help="number of most similar cohort speakers, for cohort_mean (default %(default)s)")
    args = parser.parse_args()

    trials, _, compared = read_task(args.trials, args.embedding_scp, args.enroll)
    measured = args.trials.parent / TABLE
    if not measured.exists() and any(TABLE in needs(QUALITIES[name]) for name in args.quality):
        raise UserError(f"no {measured}, which has the qualities of recordings: make the features again (stage 2)")
    means = {"cohort": args.cohort and read_embeddings(args.cohort), "cohort_top": args.cohort_top,
             "utt2dur": read_table(args.trials.parent / "utt2dur"), TABLE: read_qualities(measured)}
    args.stem.parent.mkdir(parents=True, exist_ok=True)
    for quality in args.quality:
        for name, values in measure(quality, compared, trials.first, trials.second, **means).items():
            write_scores(args.stem.with_name(f"{args.stem.name}.{name}"), trials, values)
    print(f"{args.stem}.*: {', '.join(args.quality)} of {len(trials.first)} trials")


if __name__ == "__main__":
    run(main)
