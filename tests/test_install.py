"""`pip install .` gives the command."""

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, environment
from tools import model_file

from deepspeaker import __version__


@pytest.mark.long
def test_pip_install(tmp_path):
    """Without dependencies, which this Python has, and from a copy: a build leaves files in its tree."""
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(ROOT / "deepspeaker", source / "deepspeaker", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", target]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, source], check=True)
    for name in ("recipe/report/page.html", "importing/deep_speaker.toml", "inference/service/page/index.html",
                 "inference/service/page/page.js"):
        assert (target / "deepspeaker" / name).exists()
    there = environment(PYTHONPATH=str(target))

    def run(*words):
        return subprocess.run([sys.executable, target / "bin/deepspeaker", *map(str, words)], cwd=tmp_path, env=there,
                              capture_output=True, text=True)

    assert run("--version").stdout == f"{__version__}\n"
    failed = run("verify", model_file(tmp_path / "model.pt"), "a.wav", "b.wav")
    assert failed.returncode == 2 and failed.stderr == "deepspeaker: a.wav: no such file\n"
    assert "Requires-Dist: torch>=2.6" in next(target.glob("*.dist-info/METADATA")).read_text()
