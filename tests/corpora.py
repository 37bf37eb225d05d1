"""What the tests of corpus programs share: small trees of real files, and a program run on them and checked."""

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from conftest import ROOT, environment, noise, write_wav

from deepspeaker.datadir import read_lists, read_table

FEW = [f"id{number}" for number in range(10)]
BOM = b"\xef\xbb\xbf"


@cache
def sound(kind: str) -> bytes:
    """A tenth of a second as .wav or .flac."""
    with tempfile.TemporaryDirectory() as folder:
        return write_wav(Path(folder) / f"a.{kind}", noise(0.1, 0)).read_bytes()


def lay_out(folder: Path, *names: str) -> Path:
    """Write sound files below a folder: FLAC where their names say so, else WAV."""
    for path in (folder / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound("flac" if path.suffix == ".flac" else "wav"))
    return folder


def prepare(corpus: str, root: Path, data: Path, *options: object, fails: bool = False) -> str:
    """Run a corpus program; its output, or its error, which must be one line. What it wrote must be valid."""
    command = [sys.executable, ROOT / "local" / f"{corpus}.py", *options, root, data]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment())
    assert done.returncode == (1 if fails else 0), done.stderr
    if fails:
        assert done.stderr.count("\n") == 1 and done.stderr.startswith(f"{corpus}.py: "), done.stderr
        return done.stderr
    for directory in filter(Path.is_dir, data.iterdir()):
        validate(directory)
    assert not list(data.glob(".new")) and not list(data.glob(".*.old"))
    return done.stdout + done.stderr


def validate(directory):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [ROOT / "utils/validate_data_dir.sh", "--no-feats", "--no-text", directory]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(PATH=path))
    assert done.returncode == 0, done.stderr
    if not (directory / "segments").exists():
        assert all(Path(entry).is_file() for entry in read_table(directory / "wav.scp").values())


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def speakers(directory):
    return sorted(read_lists(directory / "spk2utt"))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def of_speakers(several, utterances=2):
    return [f"{speaker}/{number}.wav" for speaker in several for number in range(utterances)]
