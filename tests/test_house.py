"""The structure that the README promises: imports run one way, and no sentence decides what is done."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "deepspeaker"
ORDER = ("errors", "gpu", "atomic", "provenance", "conf_files", "audio", "datadir", "corpus", "scoring", "metrics",
         "models", "losses", "config_checks", "config", "checkpoint", "engines", "extraction", "batches", "training",
         "importing", "inference", "recipe")
DOORS = ("", "__main__")  # import deepspeaker, python -m deepspeaker


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "deepspeaker":
            package = node.module.removeprefix("deepspeaker").lstrip(".")
            for name in (alias.name for alias in node.names):
                full = f"{package}.{name}".lstrip(".")
                found.add(full if full in MODULES else package)
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: a relative import"
    return found


def test_imports_run_one_way():
    wings = {name.split(".")[0] for name in MODULES} - set(DOORS)
    assert wings == set(ORDER)
    place = {wing: number for number, wing in enumerate(ORDER)}
    upwards = [(name, other) for name, path in MODULES.items() if name not in DOORS for other in imported(path)
               if other not in DOORS and place[other.split(".")[0]] > place[name.split(".")[0]]]
    assert upwards == []


def test_imports_have_no_circles():
    """Within a wing, too; a package's own file may import its parts."""
    graph = {name: imported(path) - {name, *DOORS} for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph) > 100


def test_no_sentence_steers():
    """Shell scripts do not look into what a program says; Python decides by kinds, not by the beginnings of texts."""
    for path in [*ROOT.glob("steps/*.sh"), *ROOT.glob("utils/*.sh"), ROOT / "egs/voxceleb/run.sh"]:
        assert not re.search(r"\bgrep\b|\*'[^']* [^']*'\*", path.read_text()), path
    for path in PACKAGE.glob("recipe/*.py"):
        assert "startswith" not in path.read_text(), path
