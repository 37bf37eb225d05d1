#!/usr/bin/env python3
"""Print one value of a configuration file, the items of a list separated by blanks.

    utils/conf_value.py conf/small.toml scoring backends
"""

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    conf, section, key = sys.argv[1:]
    try:
        value = tomllib.loads(Path(conf).read_text(encoding="utf-8"))[section][key]
    except (OSError, tomllib.TOMLDecodeError) as error:
        sys.exit(f"conf_value.py: {conf}: {error}")
    except KeyError as error:
        sys.exit(f"conf_value.py: {conf}: {error} of [{section}] {key} is missing")
    print(*value if isinstance(value, list) else [value])
