#!/usr/bin/env python3
"""Split a list into parts of about equal size.

utils/split_scp.pl [--utt2spk=F] in.scp out1.scp out2.scp ...
utils/split_scp.pl -j 8 0 [--one-based] in.scp [out.scp]      only the first of 8 parts

Reads in.scp. Writes all outputs or none. With --utt2spk no speaker is in two parts, and --utt2dur=F then balances the
durations of the parts.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.options import door, expect, number, parse
from deepspeaker.datadir.split import split_by_speaker, split_evenly
from deepspeaker.datadir.tables import lengths, read_lines, read_pairs, write_output
from deepspeaker.errors import UserError

USAGE = "split_scp.pl [-j N n] [--one-based] [--utt2spk=F [--utt2dur=F]] in.scp out1.scp out2.scp ..."


def parse_job(args):
    """(number of jobs or 0, this job as written, the other arguments). Only -j takes two values."""
    if "-j" not in args:
        return 0, "", args
    at = args.index("-j")
    if len(args) < at + 3:
        raise UserError(f"-j needs two values; usage: {USAGE}")
    return number(args[at + 1], "number of jobs"), args[at + 2], args[:at] + args[at + 3 :]


def main():
    jobs, job, args = parse_job(sys.argv[1:])
    options = {"--one-based": False, "--utt2spk": "", "--utt2dur": ""}
    values, args = parse(args, options, USAGE)
    if jobs:
        source, *outputs = expect(args, (1, 2), USAGE)
        first = int(values["--one-based"])
        if not job.isdigit() or not first <= int(job) < first + jobs:
            raise UserError(f"-j {jobs} {job}: expected a job from {first} to {first + jobs - 1}")
    else:
        source, *outputs = expect(args, tuple(range(2, len(args) + 1)), USAGE)
    lines = read_lines(source)
    if values["--utt2spk"]:
        utt2spk = dict(read_pairs(values["--utt2spk"]))
        durations = None
        if values["--utt2dur"]:
            durations = lengths(read_lines(values["--utt2dur"]), values["--utt2dur"])
        parts = split_by_speaker(lines, utt2spk, jobs or len(outputs), durations)
    else:
        parts = split_evenly(lines, jobs or len(outputs))
    if jobs:
        parts, outputs = [parts[int(job) - first]], outputs or ["-"]
    for output, part in zip(outputs, parts, strict=True):
        write_output(output, part)


door(main)
