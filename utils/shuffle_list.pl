#!/usr/bin/env python3
"""Shuffle the lines of a list.

utils/shuffle_list.pl [--srand N] [list] > shuffled

Reads the list, or standard input. Prints its lines in random order, the same order for the same seed N (0).
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.options import door, expect, parse
from deepspeaker.datadir.tables import read_bytes, split_lines, write_output
from deepspeaker.errors import UserError

USAGE = "shuffle_list.pl [--srand N] [list] > shuffled"


def main():
    values, args = parse(sys.argv[1:], {"--srand": "0"}, USAGE)
    if not values["--srand"].isdigit():
        raise UserError(f"expected a whole number as --srand, found {values['--srand']!r}")
    lines = split_lines(read_bytes(*expect(args, (0, 1), USAGE) or "-")[0])
    random.Random(int(values["--srand"])).shuffle(lines)
    write_output("-", lines)


door(main)
