"""A recipe that is killed again and again, at random moments, leaves what an undisturbed one leaves."""

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, environment, hear_interrupts, same, tiny_conf, weights

KILLS = 20
LONGEST = 9.0  # seconds that a life may last: enough for each part of a stage, so that every life can get on
COMPARED = ("data/**/*", "fbank/*.ark", "exp/tiny/*/embeddings/**/*", "exp/tiny/*/scores/**/*", "exp/tiny/*/llr/**/*",
            "exp/tiny/*/calibration/*", "exp/tiny/results.tsv")
TRAINED = ("softmax/initial.pt", "softmax/final.pt", "triplet/final.pt", "model.pt")


def start(work: Path, limit: str = "") -> subprocess.Popen:
    corpus = "--speakers 8 --test-speakers 4 --recordings 2 --utterances 3"
    words = [ROOT / "egs/voxceleb/run.sh", "--corpus-opts", corpus, "--conf", "tiny.toml", "--dir", "a recipe",
             "--nj", "2", "--gpus", "0"]
    return subprocess.Popen(["bash", "-c", f'{limit} exec "$@"', "bash", *map(str, words)], cwd=work, text=True,
                            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                            preexec_fn=hear_interrupts)


def content(folder: Path) -> dict[str, bytes]:
    """Relative path -> bytes of all that must not depend on the run: no logs, times, records, or temporary files."""
    found = {path for pattern in COMPARED for path in folder.glob(pattern) if path.is_file()}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found)
            if not {"log", ".stages", ".backup"} & set(path.relative_to(folder).parts)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(folder in which a recipe ran, what it left, its networks); the folder is free for the next."""
    work = tmp_path_factory.mktemp("kills")
    tiny_conf(work / "tiny.toml", {"augment.copies": []})
    process = start(work)
    assert process.wait(600) == 0, process.stdout.read()
    out = work / "a recipe"
    return work, content(out), {name: weights(out / "exp/tiny" / name) for name in TRAINED}


def compare(undisturbed) -> None:
    work, files, networks = undisturbed
    out = work / "a recipe"
    found = content(out)
    assert found.keys() == files.keys(), sorted(found.keys() ^ files.keys())
    assert not [name for name in files if found[name] != files[name]]
    for name, network in networks.items():
        assert same(network, weights(out / "exp/tiny" / name)), name


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_random_moments(undisturbed, how):
    """The whole process group, so that nothing cleans up (SIGKILL) or everything at once (SIGTERM)."""
    work, kills, draw = undisturbed[0], 0, random.Random(int(how))
    wanted = KILLS if how == signal.SIGKILL else KILLS // 4
    while kills < wanted:
        shutil.rmtree(work / "a recipe", ignore_errors=True)
        while True:
            process = start(work)
            try:
                output, _ = process.communicate(timeout=draw.uniform(0, LONGEST) if kills < wanted else 600)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, how)
                process.communicate()
                kills += 1
                continue
            assert process.returncode == 0, output
            break
        compare(undisturbed)
    print(f"{kills} kills")


@pytest.mark.long
def test_a_disk_that_fills_up(undisturbed):
    """By a limit on the size of a file that rises until all fit: each run fails, tells, and loses nothing."""
    work, failures = undisturbed[0], 0
    shutil.rmtree(work / "a recipe", ignore_errors=True)
    for blocks in (8, 32, 64, 128, 10000):
        process = start(work, f"trap '' XFSZ; ulimit -f {blocks};")
        output, _ = process.communicate(timeout=600)
        if process.returncode == 0:
            break
        failures += 1
        assert "failed" in output and "Traceback" not in output, output
    assert failures >= 2
    compare(undisturbed)
