"""A rehearsal before the first step: torch.compile compiles, and PyTorch takes the GPU memory that a step needs. What
is free afterwards is free for the archives."""

import logging
from typing import Any

import torch

from deepspeaker.config import BatchConfig
from deepspeaker.errors import first_line
from deepspeaker.training import distributed
from deepspeaker.training.learner import Learner

# Without this, Inductor compiles the gradients of convolutions for each length of windows anew, until it reaches its
# limit. It makes convolutions channels-last, as most of ours are anyway.
COMPILING: dict[str, Any] = {"force_layout_optimization": True}
log = logging.getLogger(__name__)


def rehearse(learner: Learner, num_mel_bins: int, settings: BatchConfig, compiled: bool) -> None:
    """Take the network through the shortest and the longest windows of a phase, forward and backward, and leave
    everything as it was. Does nothing on a CPU without `compiled`.

    compiled: compile the network before. Where that fails, a warning is logged and the learner stays as it is, also
    where PyTorch gives up later.
    """
    on_gpu = next(learner.parameters()).is_cuda
    if compiled:
        _tell_of_giving_up()
        failed = 0
        try:
            learner.mixed = on_gpu  # code compiled for CPUs fails in bfloat16 with windows of another length
            learner.embed = torch.compile(learner.network.forward, options=COMPILING)
            _pass(learner, num_mel_bins, settings)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler may fail in any way
            failed = 1
            log.warning("torch.compile failed, training goes on without it: %s: %s", type(error).__name__,
                        first_line(error))
        if not distributed.maximum(failed):
            return
        learner.embed, learner.mixed = learner.network.forward, True
    if on_gpu:
        _pass(learner, num_mel_bins, settings)


def _pass(learner: Learner, num_mel_bins: int, settings: BatchConfig) -> None:
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    batch = settings.speakers * settings.utterances // distributed.size()
    device = next(learner.parameters()).device
    try:
        for frames in sorted({settings.min_frames, settings.max_frames}):
            learner.embeddings(torch.zeros(batch, frames, num_mel_bins, device=device)).sum().backward()
    finally:
        learner.network.load_state_dict(before)
        learner.zero_grad()


class _GivingUp(logging.Handler):
    """Passes on, in one line, what the compiler warns of, such as that it has reached its limit."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("torch.compile warns, training may go on without it: %s", first_line(record.getMessage()))


def _tell_of_giving_up() -> None:
    compiler = logging.getLogger("torch._dynamo")
    if not any(isinstance(handler, _GivingUp) for handler in compiler.handlers):
        compiler.addHandler(_GivingUp(logging.WARNING))
