#!/usr/bin/env python3
"""Take N lines of a list.

utils/subset_scp.pl [--quiet] [--first|--last] N in.scp > out.scp

Reads in.scp. Prints N lines from all over it, the same ones as Kaldi's tool, or the first or last N. It is an error if
the list has fewer than N lines; with --quiet, all are printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.options import door, expect, number, parse
from deepspeaker.datadir.split import subset
from deepspeaker.datadir.tables import read_lines, write_output

USAGE = "subset_scp.pl [--quiet] [--first|--last] N in.scp > out.scp"


def main():
    values, args = parse(sys.argv[1:], {"--quiet": False, "--first": False, "--last": False}, USAGE)
    count, source = expect(args, (2,), USAGE)
    lines, count = read_lines(source), number(count, "number of lines")
    if values["--quiet"]:
        count = min(count, len(lines))
    which = "first" if values["--first"] else "last" if values["--last"] else ""
    write_output("-", subset(lines, count, which))


door(main)
