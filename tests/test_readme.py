"""What the README says is so."""

import re
import subprocess
import sys

from conftest import ROOT, environment, noise, write_wav
from tools import model_file, voice

README = (ROOT / "README.md").read_text()


def block(start: str) -> str:
    """The example that begins so."""
    return next(text for text in re.findall(r"```\w+\n(.*?)```", README, re.DOTALL) if text.startswith(start))


def test_examples_of_a_trained_model(tmp_path, call):
    model_file(tmp_path / "model.pt")
    for name, speaker, utterance in (("ann1", 1, 0), ("ann2", 1, 1), ("bob1", 2, 0)):
        write_wav(tmp_path / f"{name}.wav", voice(speaker, utterance))
    (tmp_path / "examples.py").write_text(block("import deepspeaker"))
    done = call(sys.executable, "examples.py", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3 and done.stdout.startswith(("True ", "False "))
    command = f'deepspeaker() {{ "{sys.executable}" -m deepspeaker "$@"; [ $? -lt 2 ] || exit 2; }}\n'
    done = call("bash", "-c", command + block("deepspeaker verify"), cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert "2 speakers" in done.stdout and (tmp_path / "all.scp").exists()


def test_ten_lines_of_python(tmp_path, call):
    program = tmp_path / "mine.py"
    program.write_text(block("#!/usr/bin/env python3"))
    for speaker in range(12):
        for n in range(2):
            write_wav(tmp_path / f"wavs/s{speaker:02d}-{n}.wav", noise(0.3, 2 * speaker + n))
    done = call(sys.executable, program, tmp_path / "wavs", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    train, test = (set((tmp_path / f"data/{name}/spk2utt").read_text().split()) for name in ("train", "test"))
    assert train and test and not train & test and (tmp_path / "data/test/trials").exists()
    for name in ("train", "test"):
        assert call(ROOT / "utils/validate_data_dir.sh", "--no-feats", "--no-text", tmp_path / "data" / name
                    ).returncode == 0


def test_every_file_it_names_is_there():
    text = README.split("## How it is built")[1].split("## Credits")[0]
    names = set(re.findall(r"[\w/]+(?:\.py|\.sh|/)", text))
    folders = [ROOT, *(ROOT / "deepspeaker" / name for name in (".", "training")), ROOT / "tests",
               ROOT / "egs/voxceleb"]
    assert len(names) > 20
    assert not [name for name in names if not any((folder / name).exists() for folder in folders)]


def test_every_module_is_in_its_tree():
    for path in (ROOT / "deepspeaker").iterdir():
        if path.name.startswith("_"):
            continue
        assert path.name in README, path.name


def test_every_corpus_is_named():
    done = subprocess.run([str(ROOT / "egs/voxceleb/run.sh"), "--corpus", "nix"], env=environment(),
                          capture_output=True, text=True)
    for name in done.stderr.split("there are: ")[1].split():
        assert name in README
