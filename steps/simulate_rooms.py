#!/usr/bin/env python3
"""Simulate rooms and write their impulse responses, for steps/augment_data_dir.py --reverb.

Reads nothing. Writes RIRS_DIR/simulated_rirs/{smallroom,mediumroom}/RoomN/RoomN-1.wav, the layout of RIRS_NOISES. Needs
pyroomacoustics.

    steps/simulate_rooms.py --rooms 200 rirs
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rirs_dir", type=Path, metavar="RIRS_DIR")
    parser.add_argument("--rooms", type=int, default=200,
                        help="number of rooms of each of the two sizes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the rooms drawn (default %(default)s)")
    args = parser.parse_args()

    from deepspeaker.audio.simulated_rooms import simulate_rooms

    simulate_rooms(args.rirs_dir, args.rooms, args.seed)
    print(f"{args.rirs_dir}: impulse responses of {2 * args.rooms} simulated rooms")


if __name__ == "__main__":
    run(main)
