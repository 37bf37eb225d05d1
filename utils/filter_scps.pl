#!/usr/bin/env python3
"""Split one list by several id lists: as filter_scp.pl once for each number in place of JOB.

utils/filter_scps.pl [-f N] [--no-warn] JOB=1:8 split8/JOB/utt2spk feats.scp split8/JOB/feats.scp

Reads the id lists, and the list once. Writes the outputs; warns of lines that are in none, unless --no-warn is given.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.options import door, expect, number, parse
from deepspeaker.datadir.split import hand_out, owners
from deepspeaker.datadir.tables import keys, read_keys, read_lines, write_output
from deepspeaker.errors import UserError

USAGE = "filter_scps.pl [-f field] [--no-warn] JOB=1:n id-list.JOB in.scp out.JOB.scp"


def main():
    values, args = parse(sys.argv[1:], {"-f": "1", "--no-warn": False}, USAGE)
    job, id_list, source, output = expect(args, (4,), USAGE)
    found = re.fullmatch(r"([A-Za-z_]\w*)=(\d+):(\d+)", job)
    if not found or int(found[2]) > int(found[3]):
        raise UserError(f"bad job range {job}: expected e.g. JOB=1:8")
    name, jobs = found[1], range(int(found[2]), int(found[3]) + 1)
    for pattern in (id_list, output):
        if name not in pattern and len(jobs) > 1:
            raise UserError(f"{len(jobs)} jobs, but no {name} in {pattern}")
    owned = owners([dict.fromkeys(read_keys(id_list.replace(name, str(n)))) for n in jobs])
    lines = read_lines(source)
    field = number(values["-f"], "field")
    parts = hand_out(lines, owned, len(jobs), source, field)
    for n, part in zip(jobs, parts, strict=True):
        write_output(output.replace(name, str(n)), part)
    if not values["--no-warn"] and (lost := sum(key not in owned for key in keys(lines, source, field))):
        print(f"filter_scps.pl: warning: {lost} input lines are in no output", file=sys.stderr)


door(main)
