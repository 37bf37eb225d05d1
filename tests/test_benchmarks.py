"""Benchmarks and the parts of tests/gpu.sh say at once which packages are missing."""

import subprocess
import sys

import pytest
from conftest import ROOT, environment

PROGRAMS = [path for path in (*(ROOT / "tests/benchmarks").glob("*.py"), ROOT / "tests/gpu_parts.py")
            if '__name__ == "__main__"' in path.read_text() and path.name != "packages.py"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_without_its_packages_says_so_in_a_sentence(program):
    """-S hides every package that is installed."""
    done = subprocess.run([sys.executable, "-S", program], env=environment(PYTHONPATH=""), capture_output=True,
                          text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"{program.name} lacks packages (") and "install" in done.stderr
    assert ("pydantic" in done.stderr) == (program.stem != "resemblyzer_embeddings")  # it has an environment of its own


def check(*programs):
    words = [sys.executable, ROOT / "tests/benchmarks/packages.py", *programs]
    return subprocess.run(words, env=environment(), capture_output=True, text=True)


def test_what_is_imported_late_is_looked_for_too(tmp_path):
    program = tmp_path / "bench_mine.py"
    program.write_text("import os.path\nimport tools\n\ndef main():\n    import numpy.linalg, zebra.stripes\n"
                       "    from lion import mane\n")
    done = check(program)
    assert done.returncode == 1
    assert done.stderr == (f"bench_mine.py lacks packages (lion, zebra): install with {sys.executable} -m pip install "
                           "lion zebra\n")


def test_nothing_of_this_project_is_taken_for_a_package():
    done = check(ROOT / "tests/gpu_parts.py", ROOT / "tests/test_gpu.py", ROOT / "tests/benchmarks/bench_tool.py")
    assert (done.returncode, done.stderr) == (0, "")
