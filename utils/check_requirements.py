#!/usr/bin/env python3
"""Print the folder of this Python's `python3` if it is 3.11 or later and satisfies a requirements file.

    utils/check_requirements.py requirements.txt

Reads the file (lines `name>=version`). Otherwise prints one line on standard error and ends with status 1. Uses the
standard library alone, because the Python that it checks may have nothing else.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def numbers(text):
    return tuple(int(n) for n in re.match(r"\d+(\.\d+)*", text)[0].split("."))


def main():
    if sys.version_info < (3, 11):  # noqa: UP036  (older ones get here too)
        sys.exit(f"Python {sys.version.split()[0]} is older than 3.11")
    here = Path(sys.executable).parent
    if (here / "python3").resolve() != Path(sys.executable).resolve():
        sys.exit(f"{here}/python3 is not {sys.executable}")
    for line in Path(sys.argv[1]).read_text().splitlines():
        requirement = re.match(r"([\w-]+)>=([\d.]+)", line)
        if not requirement:
            continue
        name, lowest = requirement.groups()
        try:
            found = version(name)
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed")
        if numbers(found) < numbers(lowest):
            sys.exit(f"{name} {found} is older than {lowest}")
    print(here)


main()
