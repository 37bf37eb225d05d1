#!/usr/bin/env python3
"""Make a folder of sounds to augment speech with: noise, music, babble and rooms, in Kaldi's wave archives.

Reads the sounds of MUSAN and RIRS_NOISES, if given; without them, makes noise and rooms itself, and takes the talkers
of babble from a data directory. Writes SOUNDS_DIR/{noise,music,babble,rooms}.{ark,scp}, those of --kinds, in place of
earlier ones. For training on noisy windows, and for steps/augment_data_dir.py.

    steps/make_sounds.py sounds
    steps/make_sounds.py --kinds "noise babble reverb" --speech data/train sounds
    steps/make_sounds.py --kinds "noise music babble reverb" --musan /db/musan --rirs /db/RIRS_NOISES sounds
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.audio import SAMPLE_RATE
from deepspeaker.corpus.sounds import NUMBER, make_sounds
from deepspeaker.errors import examples, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds_dir", type=Path, metavar="SOUNDS_DIR")
    parser.add_argument("--kinds", default="noise reverb",
                        help="kinds of sounds, of 'noise music babble reverb' (default '%(default)s')")
    parser.add_argument("--musan", type=Path, metavar="FOLDER", help="folder of MUSAN, for noise, music and babble")
    parser.add_argument("--rirs", type=Path, metavar="FOLDER", help="folder of RIRS_NOISES, for reverb")
    parser.add_argument("--speech", type=Path, metavar="DATA_DIR", help="data directory, for babble without --musan")
    parser.add_argument("--no-pipes", action="store_true",
                        help="refuse a wav.scp with commands instead of running them")
    parser.add_argument("--rate", type=int, default=SAMPLE_RATE, metavar="HZ",
                        help="sampling rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sounds made (default %(default)s)")
    parser.add_argument("--number", type=int, default=NUMBER, metavar="N",
                        help="number of sounds of a kind made, or taken of --speech (default %(default)s)")
    args = parser.parse_args()

    made = make_sounds(args.sounds_dir, args.kinds.split(), args.rate, args.seed, args.musan, args.rirs, args.speech,
                       args.number, not args.no_pipes)
    found = ", ".join(f"{count:,} {kind}" for kind, count in made.counts.items())
    silent = f"; left out as digital silence: {examples(made.silent)}" if made.silent else ""
    unreadable = f"; left out as unreadable: {examples(made.unreadable)}" if made.unreadable else ""
    print(f"{args.sounds_dir}: sounds at {args.rate} Hz: {found}{silent}{unreadable}")


if __name__ == "__main__":
    run(main)
