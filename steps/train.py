#!/usr/bin/env python3
"""Train one phase: softmax pre-training, or the triplet loss on cosine.

Reads TRAIN_DIR and DEV_DIR (feats.scp, vad.scp, utt2spk; trials of DEV_DIR; with [augment] online TRAIN_DIR's
sound.scp in place of feats.scp), and with --init the network of a checkpoint and, in the softmax phase, its
classifier's rows of the speakers that TRAIN_DIR has, too. Writes OUT_DIR/final.pt (the epoch with the best dev EER, or
the mean of the last [training] average epochs), initial.pt, best.pt, the last checkpoints, train.log and train.jsonl
(one line per epoch). Resumes from the last checkpoint in OUT_DIR. Prints one line per epoch.
steps/torchrun.py starts it in several processes, which share each batch.

    steps/train.py --phase triplet --conf conf/small.toml --init exp/small/softmax/final.pt \\
        data/train data/dev exp/small/triplet
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.recipe.phases import TRAINED


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train_dir", type=Path, metavar="TRAIN_DIR")
    parser.add_argument("dev_dir", type=Path, metavar="DEV_DIR")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("--phase", choices=TRAINED, required=True, help="training phase")
    parser.add_argument("--conf", type=Path, required=True, metavar="FILE", help="configuration")
    parser.add_argument("--init", type=Path, metavar="CHECKPOINT",
                        help="checkpoint whose network, and classifier's rows of the same speakers, to start from "
                             "(default: random weights)")
    parser.add_argument("--sounds", type=Path, metavar="FOLDER",
                        help="sounds and rooms that [augment] online changes windows with, made by make_sounds.py")
    parser.add_argument("--replace", choices=["changed", "always"],
                        help="when to move an earlier training in OUT_DIR to old/ beside it: if its settings were "
                             "others, or always (default: never)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is random (default %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"],
                        help="device to train on (default: cuda where there is a GPU)")
    args = parser.parse_args()

    import torch

    from deepspeaker.config import load_config
    from deepspeaker.training import distributed
    from deepspeaker.training.loop import fit

    device = distributed.start(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    args.out_dir.mkdir(parents=True, exist_ok=True)
    if distributed.rank() == 0:
        log = logging.FileHandler(args.out_dir / "train.log")
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[logging.StreamHandler(sys.stdout), log])
    status = 0
    try:
        fit(load_config(args.conf), args.phase, args.train_dir, args.dev_dir, args.out_dir, args.init, args.seed,
            device, args.replace, args.sounds)
    except SystemExit as stopped:  # by a signal; with its frames goes the network, which holds the group
        status = int(stopped.code or 0)
    distributed.leave()
    return status


if __name__ == "__main__":
    run(main)
