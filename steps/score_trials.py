#!/usr/bin/env python3
"""Score a trial list.

Reads TRIALS (`id1 id2 target|nontarget`), EMBEDDING_SCP and, with --enroll, a file of `model-id utt1 utt2 ...`: the
trials' first ids are then models, whose embedding is their utterances' mean. Writes SCORES (`id1 id2 score`) in the
order of TRIALS. Trials of utterances that the data directory of TRIALS has (utt2spk) but that could not be read in
stage 2 are left out and counted; ids it does not have are an error.

    steps/score_trials.py data/test/trials exp/small/triplet/embeddings/test/embedding.scp trials.cosine
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.archive import read_vectors
from deepspeaker.command import run
from deepspeaker.datadir import read_lists, read_table
from deepspeaker.files import atomic
from deepspeaker.scoring import BACKENDS, enrolled, refuse_unknown, score_trials, split_lost
from deepspeaker.trials import read_trials


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path, metavar="TRIALS")
    parser.add_argument("embedding_scp", type=Path, metavar="EMBEDDING_SCP")
    parser.add_argument("scores", type=Path, metavar="SCORES")
    parser.add_argument("--backend", choices=BACKENDS, default="cosine")
    parser.add_argument("--enroll", type=Path, metavar="FILE")
    args = parser.parse_args()

    trials = read_trials(args.trials)
    embeddings = read_vectors(args.embedding_scp)
    utt2spk = args.trials.parent / "utt2spk"
    known = set(read_table(utt2spk)) if utt2spk.exists() else set()
    enroll = read_lists(args.enroll) if args.enroll else None
    if enroll:
        refuse_unknown(f"{args.enroll} names", set().union(*enroll.values()) - known - embeddings.keys())
    first = enrolled(enroll, embeddings) if enroll else embeddings
    kept, lost = split_lost(trials, first, embeddings, set(enroll or known), known)
    scores = score_trials(kept, first, embeddings, args.backend)
    args.scores.parent.mkdir(parents=True, exist_ok=True)
    with atomic(args.scores) as file:
        file.writelines(f"{t.first} {t.second} {score:.6f}\n" for t, score in zip(kept, scores, strict=True))
    print(f"{args.scores}: {len(kept)} trials scored, {lost} lost")


if __name__ == "__main__":
    run(main)
