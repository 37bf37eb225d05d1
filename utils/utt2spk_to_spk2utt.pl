#!/usr/bin/env python3
"""Turn utt2spk into spk2utt.

utils/utt2spk_to_spk2utt.pl data/train/utt2spk > data/train/spk2utt

Reads utt2spk, a file or standard input. Prints spk2utt, speakers in the order of their first utterance.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.options import door, expect, parse
from deepspeaker.datadir.tables import fields, read_bytes, spk2utt_lines, split_lines, write_output

USAGE = "utt2spk_to_spk2utt.pl [utt2spk] > spk2utt"


def main():
    args = expect(parse(sys.argv[1:], {}, USAGE)[1], (0, 1), USAGE)
    data, name = read_bytes(*args or "-")
    write_output("-", spk2utt_lines(fields(split_lines(data), 2, name)))


door(main)
