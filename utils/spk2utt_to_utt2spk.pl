#!/usr/bin/env python3
"""Turn spk2utt into utt2spk.

utils/spk2utt_to_utt2spk.pl data/train/spk2utt > data/train/utt2spk

Reads spk2utt, a file or standard input. Prints utt2spk, in the order of the input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.options import door, expect, parse
from deepspeaker.datadir.tables import read_bytes, split_lines, utt2spk_pairs, write_output

USAGE = "spk2utt_to_utt2spk.pl [spk2utt] > utt2spk"


def main():
    args = expect(parse(sys.argv[1:], {}, USAGE)[1], (0, 1), USAGE)
    data, name = read_bytes(*args or "-")
    write_output("-", (b" ".join(pair) for pair in utt2spk_pairs(split_lines(data), name)))


door(main)
