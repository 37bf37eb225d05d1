#!/usr/bin/env python3
"""Score a trial list, or find the most alike models of every utterance.

Reads TRIALS (`id1 id2 target|nontarget`), EMBEDDING_SCP and, with --enroll, a file of `model-id utt1 utt2 ...`: the
trials' first ids are then models of several utterances. Writes SCORES (`id1 id2 score`) in the order of TRIALS. Trials
of utterances that the data directory of TRIALS has (utt2spk) but that could not be read in stage 2 are left out and
counted; ids it does not have are an error.

With --all-pairs, TRIALS is such a file of models (spk2utt is one) and every utterance of EMBEDDING_SCP that is in none
of them is compared with all: SCORES has the --top most alike models of each, the best first.

    steps/score_trials.py data/test/trials exp/small/triplet/embeddings/test/embedding.scp trials.cosine
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import UserError, run
from deepspeaker.scoring import BACKENDS, make_scorer
from deepspeaker.scoring.inputs import read_embeddings, read_identification, read_task
from deepspeaker.scoring.plda_files import read_plda
from deepspeaker.scoring.score_files import write_best, write_scores
from deepspeaker.scoring.scorer import best_models, score_pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path, metavar="TRIALS")
    parser.add_argument("embedding_scp", type=Path, metavar="EMBEDDING_SCP")
    parser.add_argument("scores", type=Path, metavar="SCORES")
    parser.add_argument("--backend", choices=BACKENDS, default="cosine")
    parser.add_argument("--enroll", type=Path, metavar="FILE")
    parser.add_argument("--cohort", type=Path, metavar="SCP", help="asnorm: spk_embedding.scp of the training set")
    parser.add_argument("--cohort-list", type=Path, metavar="FILE", help="ids of it, one a line (all)")
    parser.add_argument("--cohort-top", type=int, metavar="N", default=300, help="asnorm: so many of it count (300)")
    parser.add_argument("--plda", type=Path, metavar="DIR", help="plda: what train_plda.py left")
    parser.add_argument("--all-pairs", action="store_true")
    parser.add_argument("--top", type=int, metavar="K", help="with --all-pairs")
    args = parser.parse_args()
    if args.all_pairs != bool(args.top) or args.all_pairs and args.enroll:
        raise UserError("--all-pairs goes with --top K, at least 1, and without --enroll")

    means = {"cohort": args.cohort and read_embeddings(args.cohort, args.cohort_list), "cohort_top": args.cohort_top,
             "plda": args.plda and read_plda(args.plda)}
    args.scores.parent.mkdir(parents=True, exist_ok=True)
    if args.all_pairs:
        sides = read_identification(args.trials, args.embedding_scp)
        scorer = make_scorer(args.backend, sides.embeddings, sides.models, **means)
        write_best(args.scores, sides.names, sides.utterances, best_models(scorer, np.arange(sides.tests), args.top))
        print(f"{args.scores}: the best {args.top} of {len(sides.names)} models for {sides.tests} utterances")
    else:
        trials, lost, sides = read_task(args.trials, args.embedding_scp, args.enroll)
        scorer = make_scorer(args.backend, sides.embeddings, sides.models, **means)
        write_scores(args.scores, trials, score_pairs(scorer, trials.first, trials.second))
        print(f"{args.scores}: {len(trials.first)} trials scored, {lost} lost")


if __name__ == "__main__":
    run(main)
