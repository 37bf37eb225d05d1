#!/usr/bin/env python3
"""Score a trial list, or find the most similar speaker models of every utterance.

Reads TRIALS (lines `id1 id2 target|nontarget`) and EMBEDDING_SCP; with --enroll also lines `model utt1 utt2 ...`: the
trials' first ids are then speaker models, the means of several utterances. Writes SCORES (lines `id1 id2 score`) in
the order of TRIALS. Trials of utterances that utt2spk beside TRIALS lists but that stage 2 could not read are left out
and counted; ids that utt2spk lacks are an error.

With --all-pairs, TRIALS is a file of speaker models as for --enroll (spk2utt is one), and every utterance of
EMBEDDING_SCP that belongs to none of them is compared with all: SCORES has the --top most similar models of each
utterance, the best first.

A PLDA is a directory of train_plda.py or adapt_plda.py, or one with Kaldi's files mean.vec, transform.mat and plda. Its
file normalize_length says `true` or `false`: whether the length is normalised in the PLDA's space, as Kaldi's scoring
does by default. Without that file it is.

    steps/score_trials.py data/test/trials exp/small/triplet/embeddings/test/embedding.scp trials.cosine
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import UserError, run
from deepspeaker.scoring.asnorm import COHORT_TOP
from deepspeaker.scoring.backends import BACKENDS, make_scorer
from deepspeaker.scoring.inputs import read_embeddings, read_identification, read_task
from deepspeaker.scoring.plda_files import read_plda
from deepspeaker.scoring.score_files import write_best, write_scores
from deepspeaker.scoring.scorer import best_models, score_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path, metavar="TRIALS")
    parser.add_argument("embedding_scp", type=Path, metavar="EMBEDDING_SCP")
    parser.add_argument("scores", type=Path, metavar="SCORES")
    parser.add_argument("--backend", choices=BACKENDS, default="cosine",
                        help="scoring back-end (default %(default)s)")
    parser.add_argument("--enroll", type=Path, metavar="FILE",
                        help="speaker models and their utterances: first ids of trials are then models")
    parser.add_argument("--cohort", type=Path, metavar="SCP", help="spk_embedding.scp of the training set, for asnorm")
    parser.add_argument("--cohort-list", type=Path, metavar="FILE",
                        help="ids of the cohort speakers to use, one per line (default: all)")
    parser.add_argument("--cohort-top", type=int, metavar="N", default=COHORT_TOP,
                        help="number of most similar cohort speakers, for asnorm (default %(default)s)")
    parser.add_argument("--plda", type=Path, metavar="DIR", help="PLDA, for plda")
    parser.add_argument("--all-pairs", action="store_true", help="compare every utterance with all models of TRIALS")
    parser.add_argument("--top", type=int, metavar="K",
                        help="number of models to write per utterance, with --all-pairs")
    args = parser.parse_args()
    if args.all_pairs != bool(args.top) or args.all_pairs and args.enroll:
        raise UserError("--all-pairs goes with --top K, at least 1, and without --enroll")

    plda = args.plda and read_plda(args.plda)
    means = {"cohort": args.cohort and read_embeddings(args.cohort, args.cohort_list), "cohort_top": args.cohort_top,
             "plda": plda}
    if plda and args.backend == "plda":
        print(f"{args.plda}: normalize_length {'true' if plda.normalize_length else 'false'}")
    args.scores.parent.mkdir(parents=True, exist_ok=True)
    if args.all_pairs:
        compared = read_identification(args.trials, args.embedding_scp)
        scorer = make_scorer(args.backend, compared.embeddings, compared.models, **means)
        best = best_models(scorer, np.arange(compared.tests), args.top)
        write_best(args.scores, compared.names, compared.utterances, best)
        print(f"{args.scores}: the best {args.top} of {len(compared.names)} models for {compared.tests} utterances")
    else:
        trials, lost, compared = read_task(args.trials, args.embedding_scp, args.enroll)
        scorer = make_scorer(args.backend, compared.embeddings, compared.models, **means)
        write_scores(args.scores, trials, score_pairs(scorer, trials.first, trials.second))
        print(f"{args.scores}: {len(trials.first)} trials scored, {lost} lost")


if __name__ == "__main__":
    run(main)
