#!/usr/bin/env python3
"""One job of make_fbank.sh, or (--join) the step that joins all jobs' tables.

Reads DATA_DIR/{wav.scp,segments}. A job writes ARK_DIR/{raw_fbank,vad}_NAME.JOB.{ark,scp} and, in LOG_DIR, its share of
utt2num_frames, utt2dur and of the utterances that could not be read. Joining writes DATA_DIR/{feats.scp,vad.scp,
utt2num_frames,utt2dur,frame_shift,feats_conf.json,bad_utts}.

    steps/make_fbank.py --conf conf/small.toml --job 1 --nj 4 data/test data/test/log data/test/data
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.command import run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path, metavar="DATA_DIR")
    parser.add_argument("log_dir", type=Path, metavar="LOG_DIR")
    parser.add_argument("ark_dir", type=Path, metavar="ARK_DIR")
    parser.add_argument("--conf", type=Path, required=True)
    parser.add_argument("--nj", type=int, default=1, help="number of jobs")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--job", type=int, help="this job's number, from 1")
    which.add_argument("--join", action="store_true")
    args = parser.parse_args()

    import torch

    from deepspeaker.config import load_config
    from deepspeaker.jobs import part
    from deepspeaker.make_features import join_shares, make_share, paths_of

    config = load_config(args.conf).features
    paths = paths_of(args.data_dir, args.log_dir, args.ark_dir)
    if args.join:
        print(join_shares(args.data_dir, config, args.nj, paths))
        return
    torch.set_num_threads(1)
    args.ark_dir.mkdir(parents=True, exist_ok=True)
    paths = {name: part(path, args.job) for name, path in paths.items()}
    progress = args.log_dir / f"progress.{args.job}"
    print(make_share(args.data_dir, config, args.job, args.nj, paths, progress))


if __name__ == "__main__":
    run(main)
