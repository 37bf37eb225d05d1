"""What only a GPU can show. Everything else is tested on the CPU, by the same code."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, environment, finish, same, train_command, weights

from deepspeaker.batches.training_set import TrainingSet
from deepspeaker.config import BatchConfig, load_config
from deepspeaker.gpu import upload
from deepspeaker.losses.labels import Labels
from deepspeaker.losses.triplet import MINING, triplet_loss

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU here")]


def on_gpu(words):
    return ["cuda" if word == "cpu" else word for word in words]


@pytest.mark.parametrize("free, where", [(1 << 40, "in GPU memory"), (0, "mapped archives")])
def test_batches_are_those_of_the_cpu(ready, monkeypatch, free, where):
    conf, train, _ = ready()
    config = load_config(conf)
    even = BatchConfig(speakers=4, utterances=2, min_frames=40, max_frames=90, speaker_weight="even")
    data, there = TrainingSet(train, config.features), TrainingSet(train, config.features)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    assert where in there.place(torch.device("cuda"))
    for step in range(20):
        a, b = (each.draw(np.random.default_rng(step), even) for each in (data, there))
        assert b.features.is_cuda == (where == "in GPU memory") and torch.equal(a.features, b.features.cpu())


@pytest.mark.parametrize("mining", MINING)
def test_triplets_are_those_of_the_cpu(mining):
    embeddings = F.normalize(torch.randn(96, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    speakers, utterances, found = torch.arange(24).repeat_interleave(4), torch.arange(96), {}
    for device in ("cpu", "cuda"):
        there = embeddings.detach().to(device).requires_grad_()
        labels = upload(Labels.of(speakers, utterances), torch.device(device))
        loss, _ = triplet_loss(there, labels, 0.2, mining)
        loss.backward()
        found[device] = loss.detach().cpu(), there.grad.cpu()
    torch.testing.assert_close(found["cuda"], found["cpu"])


def test_stopped_and_started_again_ends_with_the_same_parameters(ready, tmp_path):
    conf, train, dev = ready({"softmax.epochs": 3, "softmax.steps_per_epoch": 40, "training.deterministic": True,
                              "training.checkpoint_minutes": 0.0005})
    whole, stopped = (on_gpu(train_command(conf, train, dev, tmp_path / name)) for name in ("whole", "stopped"))
    assert finish(whole).returncode == 0
    process = subprocess.Popen(stopped, stdout=subprocess.DEVNULL, env=environment())
    until = time.monotonic() + 60
    while not list(tmp_path.glob("stopped/step-*.pt")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait() in (143, 0)
    assert finish(stopped).returncode == 0
    assert same(weights(tmp_path / "whole/final.pt"), weights(tmp_path / "stopped/final.pt"))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs here")
@pytest.mark.parametrize("norm", ["channel", "channel_frequency"])
def test_two_gpus_train_as_one(ready, tmp_path, norm):
    conf, train, dev = ready({"model.batch_norm": norm, "softmax.warmup_steps": 0})
    launcher = [sys.executable, str(ROOT / "steps/torchrun.py"), "--standalone", "--nproc-per-node"]
    losses = []
    for count in ("1", "2"):
        done = finish([*launcher, count, *on_gpu(train_command(conf, train, dev, tmp_path / count))[1:]])
        assert done.returncode == 0, done.stderr
        losses.append([json.loads(line)["loss"] for line in (tmp_path / count / "train.jsonl").open()])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
