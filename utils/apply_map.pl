#!/usr/bin/env python3
"""Replace fields by their values in a map.

utils/apply_map.pl [-f 2-3] [--permissive] map < in > out

Reads the map (lines `key value...`) and standard input. Writes standard output. -f names the fields: 2, 2-3, 2- or -3;
all if not given. A field that is not in the map is an error, and stays as it is with --permissive.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.options import door, expect, parse
from deepspeaker.datadir.tables import BOM, nth_field, read_lines, shown
from deepspeaker.errors import UserError

USAGE = "apply_map.pl [-f fields] [--permissive] map < in > out"


def field_range(text):
    """(first, last + 1) of the fields to map, from 0; None where there is no bound."""
    found = re.fullmatch(r"(\d*)([-:]?)(\d*)", text)
    if text and (not found or not (found[1] or found[3]) or "0" in (found[1], found[3])):
        raise UserError(f"bad -f {text}: expected e.g. 2, 2-3, 2- or -3")
    first, dash, last = found.groups()
    if first and last and int(first) > int(last):
        raise UserError(f"bad -f {text}: the first field lies after the last")
    return int(first or 1) - 1, int(last or (0 if dash else first or 0)) or None


def main():
    values, args = parse(sys.argv[1:], {"-f": "", "--permissive": False}, USAGE)
    (name,) = expect(args, (1,), USAGE)
    start, end = field_range(values["-f"])
    table = {
        nth_field(line, n, name): b" ".join(line.split()[1:]) for n, line in enumerate(read_lines(name), 1)
    }
    missing = 0
    for number, line in enumerate(sys.stdin.buffer, 1):
        row = (line.removeprefix(BOM) if number == 1 else line).split()
        for i in range(*slice(start, end).indices(len(row))):
            if row[i] in table:
                row[i] = table[row[i]]
            elif values["--permissive"]:
                missing += 1
            else:
                raise UserError(f"standard input:{number}: {shown(row[i])} is not in {name}")
        sys.stdout.buffer.write(b" ".join(row) + b"\n")
    if missing:
        print(f"apply_map.pl: warning: {missing} fields are not in {name} and were left", file=sys.stderr)


door(main)
