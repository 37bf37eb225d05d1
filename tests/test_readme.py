"""What the papers say is so: their examples run, and what they name is there."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import foreign_networks
import pytest
from conftest import ROOT, environment, noise, write_wav
from service import serving
from test_house import ORDER
from tools import model_file, voice

from deepspeaker import __version__

README = ROOT / "README.md"
RECIPE = ROOT / "egs/voxceleb/README.md"
PACKAGE = ROOT / "deepspeaker/README.md"
SERVICE = ROOT / "deepspeaker/inference/service/README.md"
PAPERS = [README, RECIPE, PACKAGE, ROOT / "CONTRIBUTING.md", SERVICE, ROOT / "CHANGELOG.md",
          ROOT / "egs/voxceleb/RESULTS.md", ROOT / "egs/voxceleb/SCALE.md"]
GUIDES = PAPERS[:4]  # all that they name is there now
MINE = "local/prepare_mine.sh"  # the reader's own


def blocks(paper, language):
    """The examples of a language."""
    return re.findall(rf"```{language}\n(.*?)```", paper.read_text(), re.DOTALL)


def example(paper, start):
    """The one example that begins so."""
    found, = (text for text in blocks(paper, r"\w+") if text.startswith(start))
    return found


def commands(paper):
    """The words of each indented command line that calls a program of ours, without its comment."""
    for line in paper.read_text().replace("\\\n", " ").splitlines():
        if re.match(r" {4}(\./|(egs|steps|utils|local|tests)/)\S+\.(sh|py)( |$)", line) and MINE not in line:
            yield shlex.split(line, comments=True)


@pytest.fixture
def sounds(tmp_path):
    """A folder with the files that examples name."""
    model_file(tmp_path / "model.pt")
    for name, speaker, utterance in (("ann1", 1, 0), ("ann2", 1, 1), ("bob1", 2, 0)):
        write_wav(tmp_path / f"{name}.wav", voice(speaker, utterance))
    (tmp_path / "wav.scp").write_text("ann ann1.wav\nbob bob1.wav\n")
    foreign_networks.files(tmp_path, "resnet34")
    mine = tmp_path / "data/mine"
    mine.mkdir(parents=True)
    names = [f"s{speaker}-{n}" for speaker in range(5) for n in range(2)]
    for name in names:
        write_wav(mine / f"{name}.wav", voice(int(name[1]), int(name[3]), 2.5))
    (mine / "wav.scp").write_text("".join(f"{name} {mine}/{name}.wav\n" for name in names))
    (mine / "utt2spk").write_text("".join(f"{name} {name[:2]}\n" for name in names))
    return tmp_path


@pytest.mark.parametrize("paper, printed", [(README, 1), (PACKAGE, 3)])
def test_python_examples_of_a_trained_model(paper, printed, sounds, call):
    (sounds / "examples.py").write_text(example(paper, "import deepspeaker"))
    done = call(sys.executable, "examples.py", cwd=sounds, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == printed and done.stdout.startswith(("True ", "False "))


def test_the_python_example_of_calibration(sounds, call):
    program = f"import deepspeaker\nmodel = deepspeaker.load('model.pt')\n{example(PACKAGE, 'done = ')}"
    (sounds / "examples.py").write_text(program)
    done = call(sys.executable, "examples.py", cwd=sounds, PYTHONPATH=str(ROOT))
    assert done.returncode == 0 and "only 5 speakers" in done.stdout and (sounds / "mine.pt").exists(), done.stderr


@pytest.mark.parametrize("paper", [README, pytest.param(PACKAGE, marks=pytest.mark.long)])
def test_commands_of_a_trained_model(paper, sounds, call):
    command = f'deepspeaker() {{ "{sys.executable}" -m deepspeaker "$@"; [ $? -lt 2 ] || exit 2; }}\n'
    done = call("bash", "-c", command + example(paper, "deepspeaker verify"), cwd=sounds, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    if paper == PACKAGE:
        assert "2 speakers" in done.stdout and "Bob O'Brien: 1 recordings" in done.stdout
        made = ("all.scp", "all.npy", "embedding.scp", "mine.pt", "network.pt")
        assert all((sounds / name).exists() for name in made)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_requests_of_the_service(sounds, call):
    with serving(sounds / "model.pt", sounds / "people.db") as server:
        lines = example(SERVICE, "curl").replace("http://localhost:8000", server.address).replace("curl", "curl -s")
        done = call("bash", "-ec", lines.replace("\n", "; echo\n"), cwd=sounds)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [[*answer][0] for answer in answers] == ["name", "speaker", "first", "name"], answers


def test_the_threshold_on_scores(tmp_path, call):
    (tmp_path / "exp/demo").mkdir(parents=True)
    model_file(tmp_path / "exp/demo/model.pt")
    (tmp_path / "examples.py").write_text(example(RECIPE, "from deepspeaker.checkpoint"))
    done = call(sys.executable, "examples.py", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 1.1


def test_ten_lines_of_python(tmp_path, call):
    program = tmp_path / "mine.py"
    program.write_text(example(README, "#!/usr/bin/env python3"))
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


def test_every_example_is_run():
    """By the tests above: one that is added needs a test, too."""
    assert [len(blocks(paper, "python")) for paper in GUIDES] == [2, 1, 2, 0]
    assert [paper for paper in PAPERS[4:] if blocks(paper, "python")] == []
    assert [len(blocks(paper, "bash")) for paper in GUIDES] == [1, 0, 1, 0]
    assert [paper for paper in PAPERS[4:] if blocks(paper, "bash")] == [SERVICE]


@pytest.mark.parametrize("paper", GUIDES, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_every_file_it_names_is_there(paper):
    text = re.sub(r"```.*?```", "", paper.read_text(), flags=re.DOTALL)
    names = set(re.findall(r"(?<![\w/<*.])(?:[\w.]+/)*[\w.]+\.(?:py|sh|pl|toml|conf|cff|md)\b|"
                           r"(?<![\w/.{])(?:local|steps|utils|deepspeaker|tests|egs)/(?:\w+/)*(?!\w)", text))
    names -= {MINE, "local/mine.py", "trained.toml", "queue.pl"}  # the reader's own
    folders = [ROOT, ROOT / "egs/voxceleb", ROOT / "egs/voxceleb/conf", ROOT / "utils", ROOT / "deepspeaker",
               *(ROOT / "deepspeaker").glob("*/")]
    assert len(names) > 8
    assert [name for name in names if not any((folder / name).exists() for folder in folders)] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_commands_have_their_programs_options_and_configurations(paper):
    """Options are looked for in the program's own text."""
    for words in commands(paper):
        folder = ROOT / "egs/voxceleb" if words[0].startswith("./") else ROOT
        text = (folder / words[0]).read_text()
        for option in (word for word in words[1:] if re.fullmatch("--[a-z-]+", word)):
            assert re.search(rf"{option}\b", text), words
        if "--conf" in words:
            assert (ROOT / "egs/voxceleb" / words[words.index("--conf") + 1]).exists(), words


@pytest.mark.parametrize("name", ["RESULTS.md", "SCALE.md"])
def test_programs_and_modules_of_the_results_are_there(name):
    names = re.findall(r"(?<![\w/.])(?:local|steps|utils|deepspeaker|tests|conf)/[\w/]+\.\w+",
                       (RECIPE.parent / name).read_text())
    assert len(names) > 8
    assert [name for name in names if not (ROOT / name).exists() and not (RECIPE.parent / name).exists()] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_every_relative_link_resolves(paper):
    links = re.findall(r"(?<!!)\[[^\]]+\]\(([^)#]+)\)", paper.read_text())
    assert [link for link in links if "://" not in link and not (paper.parent / link).exists()] == []


def test_the_picture_is_there():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text())
    assert len(pictures) == 1 and 0 < (ROOT / pictures[0]).stat().st_size <= 150_000


def test_the_first_page_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_every_module_is_in_the_list_of_files():
    parts = re.split(r"\n(?:For|`)", PACKAGE.read_text().split("## The files")[1])
    top = "\n".join(part for part in parts if not re.match(r"\w+/`", part))
    for path in (ROOT / "deepspeaker").rglob("*.py"):
        wing, _, name = path.relative_to(ROOT / "deepspeaker").as_posix().rpartition("/")
        wing, _, inner = wing.partition("/")
        part = next(part for part in parts if part.startswith(f"{wing}/`")) if wing else top
        name = f"{inner}/{name}" if inner else name
        if name == "__init__.py" and wing in ("audio", "batches", "extraction", "training", "importing",
                                              "inference", "recipe", "engines", "metrics", "scoring"):
            continue  # a docstring only
        assert re.search(rf"(?<![\w/]){re.escape(name)}(?!\w)", part), path


def test_the_wings_stand_in_the_order_of_their_imports():
    order = [wing for wing in ORDER if (ROOT / "deepspeaker" / wing).is_dir()]
    assert re.findall(r"^    (\w+)/ ", README.read_text(), re.MULTILINE) == order
    assert re.findall(r"^`(\w+)/`", PACKAGE.read_text().split("## The files")[1], re.MULTILINE) == order


def test_every_corpus_is_named():
    done = subprocess.run([str(ROOT / "egs/voxceleb/run.sh"), "--corpus", "nix"], env=environment(),
                          capture_output=True, text=True)
    names = done.stderr.split("there are: ")[1].split()
    assert len(names) > 5
    for name in names:
        assert re.search(rf"\b{name.strip(',')}\b", README.read_text()), name
        assert re.search(rf"\b{name.strip(',')}\b", RECIPE.read_text()), name


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
