#!/usr/bin/env python3
"""Make a copy of a data directory with other sound: at another speed, or with noise, music, babble or reverberation.

Reads SOURCE and the sounds of FOLDER: MUSAN or RIRS_NOISES as distributed, a folder with the same layout, or the
SOUNDS_DIR of steps/make_sounds.py. Writes TARGET, a data directory without features and without audio of its own: its
file `augment` describes how the original audio is changed when it is read. Utterance 's1-u1' becomes 's1-u1-noise' of
the same speaker; at another speed 'sp0.9-s1-u1' of a new speaker, 'sp0.9-s1'. The trials of a test set become trials of
the copies.

    steps/augment_data_dir.py --noise /db/musan data/train data/train_noise
    steps/augment_data_dir.py --reverb sounds data/test data/test_reverb
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import UserError, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("target", type=Path, metavar="TARGET")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--speed", type=float, metavar="FACTOR", help="speed factor from 0.5 to 2: 1.1 is 10 %% faster")
    kind.add_argument("--noise", type=Path, metavar="FOLDER", help="MUSAN or SOUNDS_DIR, whose noises are added")
    kind.add_argument("--music", type=Path, metavar="FOLDER", help="MUSAN or SOUNDS_DIR, whose music is added")
    kind.add_argument("--babble", type=Path, metavar="FOLDER",
                      help="MUSAN or SOUNDS_DIR, several of whose talkers are added")
    kind.add_argument("--reverb", type=Path, metavar="FOLDER",
                      help="folder of impulse responses or SOUNDS_DIR, which add reverberation")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sounds and levels drawn (default %(default)s)")
    args = parser.parse_args()

    from deepspeaker.corpus.augmented_copies import FASTEST, MUSAN, SLOWEST, noisy_copy, reverberant_copy, speed_copy

    if args.speed is not None:
        if not SLOWEST <= args.speed <= FASTEST or args.speed == 1:
            raise UserError(f"--speed: expected {SLOWEST:g} to {FASTEST:g} and other than 1, found {args.speed}")
        count, what = speed_copy(args.source, args.target, args.speed), f"at {args.speed:g} times its speed"
    elif args.reverb:
        count, what = reverberant_copy(args.source, args.target, args.reverb, args.seed), "with reverberation"
    else:
        what, folder = next((name, folder) for name in MUSAN if (folder := getattr(args, name)))
        count, what = noisy_copy(args.source, args.target, what, folder, args.seed), f"with {what}"
    print(f"{args.target}: {count} utterances of {args.source} {what}")


if __name__ == "__main__":
    run(main)
