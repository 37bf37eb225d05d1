#!/usr/bin/env python3
"""Print one value of a configuration file.

Reads CONF. Prints the value of KEY in [SECTION], the items of a list separated by blanks; DEFAULT, if it is given,
where CONF lacks KEY, as files written before there was such a key do.

    utils/conf_value.py conf/small.toml scoring backends
    utils/conf_value.py conf/small.toml scoring plda_normalize_length false
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.conf_files import read_tables, value
from deepspeaker.errors import run


def main() -> None:
    conf, section, key, *default = sys.argv[1:]
    tables = read_tables(conf)
    if default and key not in tables.get(section, {}):
        print(*default)
        return
    found = value(tables, conf, section, key)
    if isinstance(found, bool):
        found = str(found).lower()
    print(*found if isinstance(found, list) else [found])


if __name__ == "__main__":
    run(main)
