"""tests/gpu.sh where there is no GPU: its parts run, and its table tells what they found."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, environment

TABLE = ROOT / "tests/gpu_table.py"


def rows(parts, name):
    return {row["what"]: row for row in parts[name]["rows"]}


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: run tests/gpu.sh itself")
def test_its_parts_run(tmp_path):
    done = subprocess.run([str(ROOT / "tests/gpu.sh")], env=environment(OUT=str(tmp_path / "out")), timeout=1500,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "out/results.json").read_text())
    absent = {name for name, part in parts.items() if part["ended"] != "ran"}
    assert absent == {"tests", "recipe-gpu", "recipe-cpu", "recipes", "sounds", "wide"}
    assert {parts[name]["last_line"] for name in absent} == {"needs a GPU"}
    for name in parts.keys() - absent - {"data"}:
        assert parts[name]["rows"], name
    for row in ("softmax, resident: waits of a step", "triplet, mapped: waits of a step"):
        assert rows(parts, "waits")[row]["found"] == 0 == rows(parts, "waits")[row]["at_most"]
    assert rows(parts, "resume-triplet")["triplet, SIGKILL: tensors that differ"]["found"] == 0
    networks = {row.split()[0] for row in rows(parts, "rates") if "share of matrix rate" in row}
    assert networks >= {"rescnn", "gru", "resnet34", "ecapa", "small"}
    table = done.stdout.partition("compiled ended with status 0\n")[2]
    assert all(f"\n{name}: {part['ended']}, " in f"\n{table}" for name, part in parts.items())
    assert "aims missed: 0" in table.splitlines()[-1]


def told(tmp_path, status, *row):
    """The table of one part, and its exit status."""
    parts = tmp_path / "parts"
    parts.mkdir(exist_ok=True)
    (parts / "speed.status").write_text(f"{status} 7\n")
    (parts / "speed.log").write_text("first\nlast\n")
    names = ("what", "found", "at_least", "at_most")
    (parts / "speed.jsonl").write_text(json.dumps(dict(zip(names, ("rate", *row), strict=True))) + "\n")
    done = subprocess.run([sys.executable, TABLE, tmp_path], env=environment(), capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("found, low, high, missed", [
    (0.35, 0.35, None, False), (0.34, 0.35, None, True), (0, None, 0, False), (1, None, 0, True),
    (9.0, None, None, False), (float("nan"), 0.1, None, True), (float("nan"), None, 0.1, True)])
def test_an_aim_that_is_missed_is_told(tmp_path, found, low, high, missed):
    status, lines = told(tmp_path, 0, found, low, high)
    assert (status, "MISSED" in lines[1]) == (int(missed), missed)
    assert lines[-1].startswith(f"1 parts, failed: none; aims missed: {int(missed)};")


@pytest.mark.parametrize("status, words", [(0, "ran"), (77, "not run"), (1, "failed with status 1"),
                                           (124, "ran out of time"), (137, "ran out of time")])
def test_a_part_that_fails_is_told(tmp_path, status, words):
    found, lines = told(tmp_path, status, 1.0, None, None)
    assert lines[0] == f"speed: {words}, 7 s{'  last' if status else ''}" and found == (status not in (0, 77))


def test_recipes_are_compared(tmp_path):
    for where, eers in (("gpu", (5.5, 4.0)), ("cpu", (5.0, 5.5))):
        path = tmp_path / where / "exp/demo/results.tsv"
        path.parent.mkdir(parents=True)
        path.write_text("set\tphase\teer\n" + "".join(
            f"test\t{phase}\t{eer}\n" for phase, eer in zip(("softmax", "triplet"), eers, strict=True)))
    (tmp_path / "parts").mkdir()
    done = subprocess.run([sys.executable, str(ROOT / "tests/gpu_parts.py"), str(tmp_path), "recipes"], text=True,
                          env=environment(WORK=str(tmp_path)), capture_output=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in (tmp_path / "parts/recipes.jsonl").open()]
    assert [(row["found"], row["at_most"]) for row in found] == [(0.5, 1), (1.5, 1)]
