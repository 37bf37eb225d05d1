#!/usr/bin/env python3
"""Print one value of a configuration file.

Reads CONF. Prints the value of KEY in [SECTION], the items of a list separated by blanks.

    utils/conf_value.py conf/small.toml scoring backends
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.conf_files import read_tables, value
from deepspeaker.errors import run


def main() -> None:
    conf, section, key = sys.argv[1:]
    found = value(read_tables(conf), conf, section, key)
    print(*found if isinstance(found, list) else [found])


if __name__ == "__main__":
    run(main)
