#!/usr/bin/env python3
"""Adapt a PLDA to another domain, from embeddings whose speakers need not be known.

Reads PLDA_DIR and EMBEDDING_SCP. Writes ADAPTED_DIR with the domain's mean, and with the variance by which the domain
exceeds the model shared out over the two covariances.

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plda_dir", type=Path, metavar="PLDA_DIR")
    parser.add_argument("embedding_scp", type=Path, metavar="EMBEDDING_SCP")
    parser.add_argument("adapted_dir", type=Path, metavar="ADAPTED_DIR")
    parser.add_argument("--within", type=float, default=0.75, help="share of the excess within speakers (0.75)")
    parser.add_argument("--between", type=float, default=0.25, help="share between speakers (0.25)")
    args = parser.parse_args()

    embeddings = read_embeddings(args.embedding_scp)
    args.adapted_dir.parent.mkdir(parents=True, exist_ok=True)
    write_plda(args.adapted_dir, adapt(read_plda(args.plda_dir), embeddings, args.within, args.between))
    print(f"{args.adapted_dir}: {args.plda_dir} adapted to {len(embeddings)} utterances")


if __name__ == "__main__":
    run(main)
