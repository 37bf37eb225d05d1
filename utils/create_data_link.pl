#!/usr/bin/env python3
"""Spread archives over several disks.

utils/create_data_link.pl DIR/a.1.ark DIR/a.2.ark

Reads the names in DIR/storage: 1, 2, ... are links to folders on other disks. Makes each DIR/NAME a link to
storage/N/NAME; NAME chooses N. Does nothing without DIR/storage.
"""

import sys
from pathlib import Path
from zlib import crc32

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepspeaker.datadir.options import door, expect, parse
from deepspeaker.errors import UserError

USAGE = "create_data_link.pl archive1 [archive2 ...]"


def main():
    args = parse(sys.argv[1:], {}, USAGE)[1]
    paths = [Path(path) for path in expect(args, tuple(range(1, len(args) + 1)), USAGE)]
    if any(path.parent != paths[0].parent for path in paths):
        raise UserError(f"all archives must lie in one folder, found {paths[0].parent} and others")
    storage = paths[0].parent / "storage"
    if not storage.is_dir():
        return
    disks = sum(folder.name.isdigit() for folder in storage.iterdir())
    if missing := [n for n in range(1, disks + 1) if not (storage / str(n)).is_dir()]:
        raise UserError(f"{storage}/{missing[0]} is not a folder")
    if not disks:
        raise UserError(f"{storage} holds no folder 1, 2, ...")
    for path in paths:
        path.unlink(missing_ok=True)
        path.symlink_to(Path("storage", str(crc32(path.name.encode()) % disks + 1), path.name))


door(main)
