#!/usr/bin/env python3
"""Compute features as one job of make_fbank.sh, or join those of all jobs (--join).

Reads DATA_DIR/{wav.scp,segments,reco2file_and_channel,augment}. A job writes ARK_DIR/{raw_fbank,vad}_NAME.JOB.ark, one
archive for every 500 utterances (...JOB.1.ark, ...JOB.2.ark), and in LOG_DIR the contents of each complete archive:
a job that is started again keeps these. Joining writes DATA_DIR/{feats.scp,vad.scp,utt2num_frames,utt2dur,utt2quality,
frame_shift,feats_conf.json,bad_utts}. With --make sound, ARK_DIR/sound_NAME.JOB.ark and sound.scp: the samples
themselves, as Kaldi wave archives of 16 bits, one channel, at the features' rate.

    steps/make_fbank.py --conf conf/small.toml --job 1 --nj 4 data/test data/test/log data/test/data
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.audio.commands import PIPE_TIMEOUT
from deepspeaker.errors import UserError, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path, metavar="DATA_DIR")
    parser.add_argument("log_dir", type=Path, metavar="LOG_DIR")
    parser.add_argument("ark_dir", type=Path, metavar="ARK_DIR")
    parser.add_argument("--conf", type=Path, required=True, metavar="FILE",
                        help="configuration whose [features] are used")
    parser.add_argument("--make", default="feats,vad", metavar="KINDS",
                        help="kinds of archives, of feats,vad,sound (default %(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="number of jobs (default %(default)s)")
    parser.add_argument("--no-pipes", action="store_true",
                        help="refuse a wav.scp with commands instead of running them")
    parser.add_argument("--pipe-timeout", type=float, default=PIPE_TIMEOUT, metavar="SECONDS",
                        help="time after which a command is killed and its utterance left out (default %(default)g)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--job", type=int, help="number of this job, from 1")
    which.add_argument("--join", action="store_true", help="join the features of all --nj jobs")
    args = parser.parse_args()

    import torch

    from deepspeaker.config import load_config
    from deepspeaker.datadir import ARCHIVES
    from deepspeaker.extraction.make_features import Places, join_features, make_share

    makes = tuple(args.make.split(","))
    if not makes or not set(makes) <= set(ARCHIVES):
        raise UserError(f"--make: expected some of '{','.join(ARCHIVES)}', found '{args.make}'")
    config = load_config(args.conf).features
    places = Places(args.data_dir.resolve().name, args.log_dir, args.ark_dir, makes)
    if args.join:
        print(join_features(args.data_dir, config, places, args.nj))
        return
    torch.set_num_threads(1)
    args.ark_dir.mkdir(parents=True, exist_ok=True)
    print(make_share(args.data_dir, config, places, args.job, args.nj, not args.no_pipes, args.pipe_timeout))


if __name__ == "__main__":
    run(main)
