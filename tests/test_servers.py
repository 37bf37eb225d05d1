"""A model in a server: many threads at once, processes that fork, and threads beside other programs."""

import ast
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import ROOT, environment, write_wav
from tools import model_file, voice

import deepspeaker

SERVER = """
import json, os, signal, sys, threading, time, traceback
from types import SimpleNamespace
import numpy as np, torch, deepspeaker
from deepspeaker.inference import forks

path, sound, expected, openmp = sys.argv[1:]
expected, threads = np.load(expected), 2
if openmp == "before 5.0":
    forks.ctypes, threads = SimpleNamespace(CDLL=lambda name: object()), 1
model = deepspeaker.load(path)

def listen():
    assert np.abs(model.listen(sound).embedding - expected).max() < 1e-5

def worker(then=lambda: None):
    pid = os.fork()
    if pid == 0:
        try:
            listen()
            assert torch.get_num_threads() == threads
            then()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    for _ in range(200):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return "fails" if status else "answers"
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"

def grandchild():
    assert worker() == "answers"

def more_threads():
    torch.set_num_threads(threads)
    listen()

def thread():
    listen()
    found["in a thread"] = worker()

found = {"before use": worker()}
listen()
before = len(os.listdir("/proc/self/task"))
found |= {"after use": worker(), "twice": worker(grandchild), "threads set": worker(more_threads)}
asking = threading.Thread(target=thread)
asking.start()
asking.join()
listen()
found["threads"] = len(os.listdir("/proc/self/task")) - before, torch.get_num_threads()
print(json.dumps(found))
"""


@pytest.fixture
def served(tmp_path):
    """(model.pt, sound files of several lengths): a network wide enough for several threads."""
    path = model_file(tmp_path / "model.pt", {"model.channels": [16, 32]})
    return path, [write_wav(tmp_path / f"{n}.wav", voice(n, seconds=2.0 + n / 2)) for n in range(4)]


@pytest.mark.parametrize("openmp", ["5.0", "before 5.0"])
def test_a_forked_worker_answers(served, tmp_path, openmp):
    path, sounds = served
    np.save(tmp_path / "expected.npy", deepspeaker.load(path).listen(sounds[3]).embedding)
    words = [sys.executable, "-c", SERVER, path, sounds[3], tmp_path / "expected.npy", openmp]
    done = subprocess.run(words, env=environment(OMP_NUM_THREADS="2", PYTHONPATH=str(ROOT)), timeout=300,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = ("before use", "after use", "twice", "threads set", "in a thread")
    assert json.loads(done.stdout) == {**dict.fromkeys(names, "answers"), "threads": [0, 2]}, done.stderr


def test_one_model_answers_many_threads_at_once(served):
    path, sounds = served
    model = deepspeaker.load(path)
    alone = [model.listen(sound) for sound in sounds]
    with ThreadPoolExecutor(4) as pool:
        heard = list(pool.map(model.listen, 10 * sounds))
    for n, found in enumerate(heard):
        np.testing.assert_allclose(found.embedding, alone[n % 4].embedding, atol=1e-5)
        assert found.trust == alone[n % 4].trust


@pytest.mark.parametrize("user, expected", [
    ({}, {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}),
    ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7", "KMP_BLOCKTIME": "1"}),
    ({"KMP_BLOCKTIME": "30"}, {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "30"}),
    ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "30000000000", "KMP_BLOCKTIME": None})])
def test_threads_spin_briefly_unless_the_user_says_otherwise(user, expected):
    """OpenMP itself says what it has read. With ACTIVE, GNU's counts to 30,000,000,000."""
    program = "import deepspeaker, torch, os; print(os.environ.get('KMP_BLOCKTIME'))"
    variables = {name: value for name, value in environment().items() if name not in deepspeaker.SPINNING}
    variables |= {**user, "OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=variables, check=True,
                          capture_output=True, text=True)
    assert done.stdout == f"{expected['KMP_BLOCKTIME']}\n"
    assert f"GOMP_SPINCOUNT = '{expected['GOMP_SPINCOUNT']}'\n" in done.stderr


def test_programs_import_the_package_before_pytorch():
    """Which reads only then how its threads shall wait."""
    for path in [path for folder in ("steps", "utils", "local") for path in (ROOT / folder).glob("*.py")]:
        tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [alias.name if isinstance(node, ast.Import) else node.module for node in tops for alias in node.names]
        first = [name.split(".")[0] for name in names]
        assert "torch" not in first[:first.index("deepspeaker") if "deepspeaker" in first else None], path
