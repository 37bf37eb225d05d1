#!/usr/bin/env python3
"""Lengthen the segments of a `segments` file at both ends, for silence around the speech.

utils/data/extend_segment_times.py [options] < data/train/segments > segments

Reads lines `utterance recording start end [channel]`, in seconds, and writes them in the same order with other times.

    --start-padding S, --end-padding S        seconds added before and after each segment (0.1)
    --last-segment-end-padding S              seconds by which a recording's last segment may grow at most (0.1)
    --fix-overlapping-segments true|false     let segments that then overlap meet in the middle of the overlap (true)
"""

import sys
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.durations import written
from deepspeaker.datadir.options import door, expect, parse
from deepspeaker.datadir.tables import read_bytes, segment_rows, shown, split_lines, write_output
from deepspeaker.errors import UserError

USAGE = (
    "extend_segment_times.py [--start-padding S] [--end-padding S] [--last-segment-end-padding S] "
    "[--fix-overlapping-segments true|false] < segments > segments"
)


def seconds(text, what):
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{what}: expected seconds, found {text!r}") from None


def read_segments():
    """[utterance, recording, start, end, and the channel where there is one] of each line of standard input."""
    segments = []
    for number, row in enumerate(segment_rows(split_lines(read_bytes("-")[0]), "standard input"), 1):
        start, end = (seconds(shown(time), f"standard input:{number}") for time in row[2:4])
        if end <= start:
            raise UserError(
                f"standard input:{number}: {shown(row[0])} ends at {end}, not after its start {start}"
            )
        segments.append([row[0], row[1], start, end, *row[4:]])
    return segments


def extend(segments, before, after, at_end, fix_overlaps):
    """Change the times of the segments of one channel of a recording; returns how many overlaps were cut."""
    segments = sorted(segments, key=lambda segment: segment[2] + segment[3])
    latest = max(segment[3] for segment in segments) + at_end
    for segment in segments:
        segment[2] = max(0.0, segment[2] - before)
        segment[3] = min(latest, segment[3] + after)
    overlaps = [(a, b) for a, b in pairwise(segments) if a[3] > b[2]] if fix_overlaps else []
    for first, second in overlaps:
        first[3] = second[2] = (first[3] + second[2]) / 2
    return len(overlaps)


def main():
    paddings = {"--start-padding": "0.1", "--end-padding": "0.1", "--last-segment-end-padding": "0.1"}
    values, args = parse(sys.argv[1:], {**paddings, "--fix-overlapping-segments": "true"}, USAGE)
    expect(args, (0,), USAGE)
    if values["--fix-overlapping-segments"] not in ("true", "false"):
        raise UserError("--fix-overlapping-segments: expected true or false")
    padding = [seconds(values[name], name) for name in paddings]
    segments = read_segments()
    recordings = {}
    for segment in segments:
        recordings.setdefault((segment[1], *segment[4:]), []).append(segment)
    fix = values["--fix-overlapping-segments"] == "true"
    overlaps = sum(extend(own, *padding, fix) for own in recordings.values())
    good = [segment for segment in segments if segment[2] < segment[3]]
    write_output("-", (b" ".join([name, recording, written(start), written(end), *channel])
                       for name, recording, start, end, *channel in good))
    print(
        f"extend_segment_times.py: extended {len(good)} segments, cut {overlaps} overlaps, "
        f"left out {len(segments) - len(good)} segments without length",
        file=sys.stderr,
    )


door(main)
