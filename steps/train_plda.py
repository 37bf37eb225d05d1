#!/usr/bin/env python3
"""Train a PLDA on the embeddings of a training set.

Reads EMBEDDING_SCP and UTT2SPK (utterances without an embedding are left out). Writes
PLDA_DIR/{mean.vec,transform.mat,plda}, in Kaldi's formats, and PLDA_DIR/normalize_length.

    steps/train_plda.py --dim 100 exp/small/triplet/embeddings/train/embedding.scp data/train/utt2spk exp/small/plda
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.scoring.inputs import read_labelled
from deepspeaker.scoring.plda import DIMENSIONS, train
from deepspeaker.scoring.plda_files import write_plda


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embedding_scp", type=Path, metavar="EMBEDDING_SCP")
    parser.add_argument("utt2spk", type=Path, metavar="UTT2SPK")
    parser.add_argument("plda_dir", type=Path, metavar="PLDA_DIR")
    parser.add_argument("--transform", choices=["lda", "whiten"], default="lda",
                        help="projection of embeddings before the PLDA (default %(default)s)")
    parser.add_argument("--dim", type=int, default=DIMENSIONS,
                        help="number of dimensions after the projection (default %(default)s)")
    parser.add_argument("--normalize-length", choices=["true", "false"], default="false",
                        help="whether scoring normalises the length in the PLDA's space, as Kaldi's does by default "
                             "(default %(default)s)")
    args = parser.parse_args()

    embeddings, speakers = read_labelled(args.embedding_scp, args.utt2spk)
    args.plda_dir.parent.mkdir(parents=True, exist_ok=True)
    plda = train(embeddings, speakers, args.transform, args.dim)
    write_plda(args.plda_dir, plda._replace(normalize_length=args.normalize_length == "true"))
    print(f"{args.plda_dir}: {args.dim} dimensions, {len(embeddings)} utterances of {speakers.max() + 1} speakers, "
          f"normalize_length {args.normalize_length}")


if __name__ == "__main__":
    run(main)
