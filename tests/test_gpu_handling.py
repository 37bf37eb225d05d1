"""How GPUs are handled, as far as a machine without one can show."""

import logging
import shutil
import threading
import warnings

import pytest
import torch
from conftest import same, weights
from test_models import BODIES
from test_training import fit

from deepspeaker.batches.training_set import Batch, TrainingSet
from deepspeaker.checkpoint import load, save
from deepspeaker.config import load_config
from deepspeaker.errors import UserError
from deepspeaker.gpu import Download, explained, full_float32, in_use, upload, usable
from deepspeaker.losses.labels import Labels
from deepspeaker.training import loop
from deepspeaker.training.learner import build_learner
from deepspeaker.training.rehearsal import rehearse

CPU = torch.device("cpu")
NO_MEMORY = ("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.19 GiB of which 1.20 "
             "GiB is free. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF")
GONE = "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported"
FULL = "the GPU's memory is used up{}: A, or end other programs on this GPU; B"
FAILED = "the GPU failed ({}): see what nvidia-smi and the system's log say of it, then run again; B"


def test_on_a_cpu_nothing_is_copied():
    batch = Batch(torch.ones(2, 3, 4), Labels.of(torch.arange(2), torch.arange(2)), (torch.ones(2, 3, 1) > 0,))
    moved = upload(batch, CPU)
    assert type(moved) is Batch and type(moved.labels) is Labels and type(moved.masks) is tuple
    assert moved.features is batch.features and moved.labels.pairs == 0 and moved.masks[0] is batch.masks[0]
    in_use(moved)
    assert Download(batch.features).read() is batch.features


def test_full_float32_holds_within_the_block_alone():
    assert torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), full_float32:
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert torch.backends.cudnn.allow_tf32
    first, second = threading.Event(), threading.Event()

    def other():
        with full_float32:
            first.set()
            second.wait()

    with full_float32:  # two threads, the first of which leaves first
        thread = threading.Thread(target=other)
        thread.start()
        first.wait()
    assert not torch.backends.cudnn.allow_tf32
    second.set()
    thread.join()
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("error, message", [
    (torch.OutOfMemoryError(NO_MEMORY), FULL.format(", 2.50 GiB more were needed")),
    (RuntimeError("CUDA error: out of memory\nmore"), FULL.format("")),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), FULL.format("")),
    (RuntimeError(GONE), FAILED.format("CUDA error: unspecified launch failure")),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
     FAILED.format("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))])
def test_failures_of_a_gpu_are_one_sentence(error, message):
    with pytest.raises(UserError) as told, explained("A", "B"):
        raise error
    assert str(told.value) == message


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: device-side assert triggered"),
                                   RuntimeError("shapes differ"), ValueError(GONE)])
def test_defects_keep_their_traceback(error):
    with pytest.raises(type(error), match=str(error)[:9]), explained("A", "B"):
        raise error


@pytest.mark.parametrize("error, message", [
    (torch.OutOfMemoryError(NO_MEMORY), r"lower \[softmax\] speakers, utterances or max_frames, .*; .*/out keeps what"),
    (RuntimeError(GONE), "the GPU failed .* run again; .*/out keeps what was trained")])
def test_a_gpu_that_fails_in_training_loses_nothing(ready, tmp_path, monkeypatch, error, message):
    conf, train, dev = ready({"softmax.epochs": 2, "softmax.steps_per_epoch": 3})
    fit(conf, train, dev, tmp_path / "whole")
    real = loop._step

    def failing(run, batch):
        if run.step == 4:
            raise error
        return real(run, batch)

    monkeypatch.setattr(loop, "_step", failing)
    with pytest.raises(UserError, match=message):
        fit(conf, train, dev, tmp_path / "out")
    monkeypatch.setattr(loop, "_step", real)
    fit(conf, train, dev, tmp_path / "out")
    assert same(weights(tmp_path / "whole/final.pt"), weights(tmp_path / "out/final.pt"))


def test_archives_leave_a_gpu_that_has_no_memory_for_a_step(ready, tmp_path, monkeypatch, caplog):
    """Training goes on from the last checkpoint, and ends as if nothing had happened."""
    conf, train, dev = ready({"softmax.epochs": 2, "softmax.steps_per_epoch": 3})
    fit(conf, train, dev, tmp_path / "whole")
    real, places = loop._step, []

    def place(data, device):
        if not data._left_gpu:
            data.upload(device)
        places.append(data.windows._resident is not None)
        return "somewhere"

    def failing(run, batch):
        if run.step == 4 and places == [True]:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return real(run, batch)

    monkeypatch.setattr(TrainingSet, "place", place)
    monkeypatch.setattr(loop, "_step", failing)
    with caplog.at_level(logging.WARNING):
        fit(conf, train, dev, tmp_path / "out")
    assert places == [True, False] and "training goes on from the last checkpoint with mapped archives" in caplog.text
    assert same(weights(tmp_path / "whole/final.pt"), weights(tmp_path / "out/final.pt"))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_checkpoint_of_a_gpu_goes_on_on_a_cpu(ready, tmp_path, optimizer):
    """Fused optimizers are for GPUs: what a checkpoint says of it does not count."""
    conf, train, dev = ready({"softmax.epochs": 2, "softmax.steps_per_epoch": 3, "training.optimizer": optimizer})
    fit(conf, train, dev, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "out")
    for name in ("final.pt", "step-00000006.pt"):
        (tmp_path / "out" / name).unlink()
    path = tmp_path / "out/step-00000003.pt"
    content = load(path)
    content["optimizer"]["param_groups"][0]["fused"] = True
    save(path, content)
    fit(conf, train, dev, tmp_path / "out")
    assert load(tmp_path / "out/step-00000006.pt")["optimizer"]["param_groups"][0]["fused"] is False
    assert same(weights(tmp_path / "whole/final.pt"), weights(tmp_path / "out/final.pt"))


@pytest.mark.parametrize("name", BODIES)
def test_a_rehearsal_leaves_no_trace(conf, monkeypatch, name):
    config, frames = load_config(conf({"model": {"name": name, **BODIES[name]}})), []
    learner = build_learner(config, "softmax", "abcd", None, CPU).train()
    before = {key: value.clone() for key, value in learner.state_dict().items()}

    def compiled(forward, options):
        return lambda features: frames.append(features.shape[1]) or forward(features)

    monkeypatch.setattr(torch, "compile", compiled)
    rehearse(learner, config.features.num_mel_bins, config.softmax, compiled=True)
    assert frames == sorted({config.softmax.min_frames, config.softmax.max_frames})
    assert same(learner.state_dict(), before) and all(p.grad is None for p in learner.parameters())
    rehearse(learner, config.features.num_mel_bins, config.softmax, compiled=False)  # nothing to do on a CPU
    assert len(frames) == len({config.softmax.min_frames, config.softmax.max_frames})


def test_a_compiler_that_gives_up_later_is_told(conf, caplog, monkeypatch):
    config = load_config(conf())
    learner = build_learner(config, "softmax", "abcd", None, CPU)
    weight = learner.network.affine.weight
    learner.network.forward = lambda features: weight.sum() * len(features)
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, options: real(forward, backend="eager", dynamic=False))
    with torch._dynamo.config.patch(recompile_limit=2), caplog.at_level(logging.WARNING):
        rehearse(learner, 8, config.softmax, compiled=True)
        assert "torch.compile" not in caplog.text
        for size in range(1, 6):
            learner.embed(torch.ones(size, 5, 8))
    assert "torch.compile warns, training may go on without it: torch._dynamo hit config.recompile_limit" in caplog.text


def test_what_pytorch_can_use(monkeypatch):
    """The warning about an old driver is PyTorch's own, from c10/cuda/CUDAFunctions.cpp."""
    if not torch.cuda.is_available() and torch.version.cuda is None:
        assert usable() == (0, "it is built without CUDA")
    else:
        assert usable()[0] == torch.cuda.device_count()

    def too_old():
        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please "
                      "update your GPU driver by downloading and installing a new version from the URL", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert usable() == (
        0, "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert usable() == (0, "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert usable() == (3, "")
