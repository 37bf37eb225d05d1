"""What the README says is so."""

import re
import subprocess
import sys

from conftest import ROOT, environment, noise, write_wav

README = (ROOT / "README.md").read_text()


def test_ten_lines_of_python(tmp_path, call):
    program = tmp_path / "mine.py"
    program.write_text(re.search(r"```python\n(.*?)```", README, re.DOTALL)[1])
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
    folders = [ROOT, ROOT / "deepspeaker", ROOT / "deepspeaker/models", ROOT / "deepspeaker/scoring", ROOT / "tests",
               ROOT / "egs/voxceleb"]
    assert len(names) > 30
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
