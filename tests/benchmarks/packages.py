#!/usr/bin/env python3
"""The packages of a program of tests/, looked for before it begins: a missing one costs a sentence, not minutes.

    tests/benchmarks/packages.py PROGRAM...

The programs call `require` before they import any package. It imports deepspeaker, too, which must come before PyTorch.
"""

import ast
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
import deepspeaker  # noqa: E402, F401

FOLDERS = (ROOT, ROOT / "tests", ROOT / "tests/benchmarks")  # of our own modules
PIP_NAMES = {"sklearn": "scikit-learn"}  # where pip knows a module by another name


def require(program: str, how: str = "") -> None:
    """Leave with a sentence if this Python lacks a package that a program or a module of tests/ it uses imports, at its
    beginning or in a function, or one of requirements.txt, which the package and the steps need.

    how: to install them, where pip install of them alone is not enough.
    """
    if absent := missing(Path(program)):
        how = how or f"install with {sys.executable} -m pip install {' '.join(absent)}"
        sys.exit(f"{Path(program).name} lacks packages ({', '.join(absent)}): {how}")


def missing(program: Path) -> list[str]:
    """The names by which pip knows them."""
    unread, modules = [program], {"packages"}  # this file needs none
    while unread:
        for name in imported(unread.pop()) - modules:
            modules.add(name)
            unread += [path for folder in FOLDERS if (path := folder / f"{name}.py").exists()]
    theirs = [name for name in modules if not any((folder / name).with_suffix(end).exists()
                                                  for folder in FOLDERS for end in ("", ".py"))]
    absent = {PIP_NAMES.get(name, name) for name in theirs if find_spec(name) is None}
    if "deepspeaker" in modules:
        names = re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
        absent |= {name for name in names if not installed(name)}
    return sorted(absent)


def imported(path: Path) -> set[str]:
    """The first parts of the names of all modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    for each in sys.argv[1:]:
        require(each)
