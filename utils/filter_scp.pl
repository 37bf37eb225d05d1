#!/usr/bin/env python3
"""Keep the lines of a list whose id is in an id list.

utils/filter_scp.pl [--exclude] [-f N] id-list [in.scp] > out.scp

Reads the ids, the first fields of id-list, and the input (standard input if no file is named, or for `-`). Prints the
lines whose first field, with -f the N-th, is one of the ids, unchanged; with --exclude, all other lines.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.options import door, expect, number, parse
from deepspeaker.datadir.tables import BOM, nth_field, open_input, read_keys

USAGE = "filter_scp.pl [--exclude] [-f field] id-list [in.scp] > out.scp"


def wanted_lines(lines, name, field, ids, exclude):
    for count, line in enumerate(lines, 1):
        item = nth_field(line, count, name, field)
        if count == 1:
            item = item.removeprefix(BOM)
        if (item in ids) != exclude:
            yield line


def main():
    values, args = parse(sys.argv[1:], {"--exclude": False, "-f": "1"}, USAGE)
    field = number(values["-f"], "field")
    id_list, name, *_ = [*expect(args, (1, 2), USAGE), "-"]
    ids = set(read_keys(id_list))
    with open_input(name) as lines:
        sys.stdout.buffer.writelines(wanted_lines(lines, name, field, ids, values["--exclude"]))


door(main)
