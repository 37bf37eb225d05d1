"""Several processes on the CPU, started by torchrun as run.sh starts them, train as one does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, environment, finish, hear_interrupts, same, train_command, weights

from deepspeaker.checkpoint import load
from deepspeaker.errors import UserError
from deepspeaker.training import distributed

STEPS = str(ROOT / "tests/distributed_steps.py")
EVEN = {"softmax.speakers": 4, "softmax.utterances": 1, "triplet.speakers": 4, "triplet.utterances": 2,
        "triplet.mining": "all", "triplet.margin": 0.5, "triplet.learning_rate": 0.01, "augment.time_mask": 10,
        "augment.frequency_mask": 5}


def torchrun(processes, *words):
    launcher = [sys.executable, str(ROOT / "steps/torchrun.py"), "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, *map(str, words)]


AMONG_OTHERS = ("rank", "size", "share", "maximum", "agreed", "objects", "buffer", "gathered")


# No telephone, whose 8 bits may round either way.
ONLINE = {"augment.online": True, "augment.copies": [], "augment.speed": 0.5, "augment.reverb": 0.5,
          "augment.noise": 0.3, "augment.music": 0.2, "augment.babble": 0.4}


@pytest.mark.parametrize("phase, changes", [
    ("softmax", ONLINE), pytest.param("softmax", {}, marks=pytest.mark.long),
    pytest.param("triplet", {}, marks=pytest.mark.long)])
def test_two_processes_take_the_step_of_one(ready, conditions, sounds, tmp_path, phase, changes):
    conf, train, dev = ready({**EVEN, **changes, "augment.dev_conditions": ["noise", "reverb"]})
    conditions(conf, dev)
    for processes, out in ((1, tmp_path / "one"), (2, tmp_path / "two")):
        words = [STEPS, conf, phase, train, dev, out, sounds]
        done = finish([sys.executable, *map(str, words)] if processes == 1 else torchrun(2, *words))
        assert done.returncode == 0, done.stderr
    one = torch.load(tmp_path / "one/0.pt")
    assert list(one["dev"]) == ["clean", "noise", "reverb"] and len(set(one["dev"].values())) == 3
    rounding = 1e-6 if changes else 1e-12  # sound is changed in float32, whose FFTs round by the size of the batch
    start = load(tmp_path / "one/initial.pt")["model"]
    moved = [(one["parameters"][f"network.{name}"] - value).abs().max() for name, value in start.items()]
    assert max(moved) > 1e-3
    assert [one[key] for key in AMONG_OTHERS] == [0, 1, [0, 1, 2, 3, 4, 5], [3, 3], [3, 3, 0, 0], [(3, 3)], [1, 1],
                                                [[0.5]]]
    for rank in (0, 1):
        two = torch.load(tmp_path / f"two/{rank}.pt")
        assert [two[key] for key in AMONG_OTHERS] == [
            rank, 2, [[0, 1, 2], [3, 4, 5]][rank], [4, 3], [0, 4, 3, 0], [(3, 3), (4, 2)], [1, 1],
            [[0.5], [1.5]]]
        assert two["dev"] == pytest.approx(one["dev"], rel=1e-6)
        for name, value in one["parameters"].items():
            torch.testing.assert_close(two["parameters"][name], value, atol=1e-6, rtol=0)
        for a, b in zip(one["gauges"], two["gauges"], strict=True):
            assert a.keys() == b.keys()
            for name in a:
                torch.testing.assert_close(a[name], b[name], equal_nan=True, check_dtype=False, atol=0, rtol=rounding,
                                           msg=lambda message, name=name: f"{name}: {message}")


def test_a_gpu_for_each_process(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(distributed, "usable", lambda: (2, ""))
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    for number in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", number)
        assert distributed.start("cuda") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="a GPU for 3 processes of this machine was asked for, PyTorch finds 2: lower"):
        distributed.start("cuda")
    monkeypatch.setattr(distributed, "usable", lambda: (0, "too old"))
    with pytest.raises(UserError, match=r"PyTorch finds 0 \(too old\): lower --gpus \(0: CPU\)"):
        distributed.start("cuda")
    assert taken == [0, 1] and distributed.start("cpu") == torch.device("cpu")


LONG = {**EVEN, "softmax.epochs": 3, "softmax.steps_per_epoch": 40, "training.checkpoint_minutes": 0.0005,
        "training.average": 2}


@pytest.mark.long
@pytest.mark.parametrize("how, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, 137)])
def test_two_processes_stop_at_one_step_and_go_on(ready, tmp_path, how, status):
    conf, train, dev = ready(LONG)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done = finish(torchrun(2, *train_command(conf, train, dev, whole)[1:]))
    assert done.returncode == 0, done.stderr
    words = torchrun(2, *train_command(conf, train, dev, stopped)[1:])
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
                               preexec_fn=hear_interrupts)
    until = time.monotonic() + 120
    while not list(stopped.glob("step-*.pt")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    if how == signal.SIGKILL:  # one of the two, as a machine without memory does it
        os.kill(int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]), how)
    else:
        process.send_signal(how)
    output, errors = process.communicate(timeout=90)
    assert process.returncode == status, output + errors
    assert not (stopped / "final.pt").exists()
    assert how == signal.SIGKILL or "Traceback" not in errors, errors
    done = finish(words)
    assert done.returncode == 0 and "resuming from" in done.stdout, done.stderr
    assert same(weights(whole / "final.pt"), weights(stopped / "final.pt"))
    assert load(stopped / "final.pt")["epochs"] == [2, 3]
    assert len((stopped / "train.jsonl").read_text().splitlines()) == 3


AT_EXIT = """
import atexit, os
from pathlib import Path

def write():
    names = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/comm"))
    Path(os.environ["THREADS"], str(os.getpid())).write_text(names)

if "RANK" in os.environ:
    atexit.register(write)
"""


@pytest.mark.parametrize("stopped", [pytest.param(False, marks=pytest.mark.long), True])
def test_no_thread_of_gloo_outlives_training(ready, tmp_path, stopped):
    """One that does may kill the process at its end, once in fifty runs."""
    conf, train, dev = ready(LONG | {"softmax.epochs": 10000 if stopped else 1})
    out, threads = tmp_path / "out", tmp_path / "threads"
    threads.mkdir()
    (tmp_path / "sitecustomize.py").write_text(AT_EXIT)
    process = subprocess.Popen(torchrun(2, *train_command(conf, train, dev, out)[1:]), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env=environment(PYTHONPATH=str(tmp_path), THREADS=str(threads)))
    until = time.monotonic() + 120
    while stopped and not list(out.glob("step-*.pt")) and time.monotonic() < until:
        time.sleep(0.02)
    if stopped:
        process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=90)[0]
    assert process.returncode == (143 if stopped else 0), output
    written = [path.read_text() for path in threads.iterdir()]
    assert len(written) == 2 and not any("gloo" in names for names in written)


@pytest.mark.long
def test_two_machines(ready, tmp_path):
    """run.sh twice, as on two machines with a common folder; a signal to one of them stops both."""
    conf, train, dev = ready({**EVEN, "augment.copies": [], "softmax.epochs": 10000})
    words = [str(ROOT / "egs/voxceleb/run.sh"), "--dir", str(tmp_path), "--conf", str(conf), "--gpus", "0", "--stage",
             "3", "--stop-stage", "3", "--nnodes", "2", "--rdzv-endpoint", "localhost:29417", "--node-rank"]
    nodes = [subprocess.Popen([*words, str(n)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=environment(), preexec_fn=hear_interrupts) for n in range(2)]
    history = tmp_path / "exp/tiny/softmax/train.jsonl"
    until = time.monotonic() + 120
    while not history.exists() and time.monotonic() < until:
        time.sleep(0.05)
    nodes[1].send_signal(signal.SIGTERM)
    outputs = [node.communicate(timeout=90)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [143, 143], outputs
    assert all(json.loads(line)["dev_eer"] >= 0 for line in history.open())
    assert "stopped by a signal in stage 3" in outputs[0] and "stopped at step" in outputs[0]
