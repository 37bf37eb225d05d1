#!/usr/bin/env python3
"""Adapt a PLDA to another domain, from embeddings whose speakers need not be known.

Reads PLDA_DIR, of train_plda.py or of Kaldi, and EMBEDDING_SCP. Writes ADAPTED_DIR: its mean is the domain's; where the
domain's variance exceeds the PLDA's, shares of the excess are added to the covariances within and between speakers. As
Kaldi's ivector-adapt-plda with the scales of Kaldi's SRE16 recipe (0.3 and 0.7 are that program's own defaults).

    steps/adapt_plda.py exp/small/plda exp/small/triplet/embeddings/mine/embedding.scp exp/small/plda_mine
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.scoring.inputs import read_embeddings
from deepspeaker.scoring.plda import adapt
from deepspeaker.scoring.plda_files import read_plda, write_plda


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plda_dir", type=Path, metavar="PLDA_DIR")
    parser.add_argument("embedding_scp", type=Path, metavar="EMBEDDING_SCP")
    parser.add_argument("adapted_dir", type=Path, metavar="ADAPTED_DIR")
    parser.add_argument("--within", type=float, default=0.75, help="share added within speakers (default %(default)s)")
    parser.add_argument("--between", type=float, default=0.25,
                        help="share added between speakers (default %(default)s)")
    parser.add_argument("--mean-diff-scale", type=float, default=1.0, metavar="SCALE",
                        help="how much of the change of the mean counts as variance (default %(default)s)")
    args = parser.parse_args()

    embeddings = read_embeddings(args.embedding_scp)
    args.adapted_dir.parent.mkdir(parents=True, exist_ok=True)
    write_plda(args.adapted_dir, adapt(read_plda(args.plda_dir), embeddings, args.within, args.between,
                                       args.mean_diff_scale))
    print(f"{args.adapted_dir}: {args.plda_dir} adapted to {len(embeddings)} utterances")


if __name__ == "__main__":
    run(main)
