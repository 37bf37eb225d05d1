#!/usr/bin/env python3
"""Compute embeddings as one job of extract_embeddings.sh, or join those of all jobs (--join).

Reads CHECKPOINT and DATA_DIR/{feats.scp,vad.scp}. A job writes OUT_DIR/embedding.JOB.{ark,scp}, a unit-length embedding
per utterance. Joining writes OUT_DIR/embedding.{ark,scp} and OUT_DIR/spk_embedding.{ark,scp} (means of each speaker's
embeddings, again of unit length) and deletes the jobs' files.

    steps/extract_embeddings.py --job 1 --nj 4 exp/small/triplet/final.pt data/test exp/small/triplet/embeddings/test
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.extraction.join_embeddings import join_embeddings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("data_dir", type=Path, metavar="DATA_DIR")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("--conf", type=Path, metavar="FILE",
                        help="configuration whose [embedding] is used (default: the checkpoint's)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu",
                        help="device that computes (default %(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="number of jobs (default %(default)s)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--job", type=int, help="number of this job, from 1")
    which.add_argument("--join", action="store_true", help="join the embeddings of all --nj jobs")
    args = parser.parse_args()

    if args.join:
        print(join_embeddings(args.data_dir, args.out_dir, args.nj))
        return
    from deepspeaker.extraction.make_embeddings import embed_share

    print(embed_share(args.checkpoint, args.conf, args.data_dir, args.out_dir, args.job, args.nj, args.device))


if __name__ == "__main__":
    run(main)
