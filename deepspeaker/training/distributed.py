"""Processes that train one network together, started by torchrun; without torchrun there is one process.

Every process draws the same batch, embeds its share of the windows, and gathers the embeddings of all: each then has
the loss and the gauges of the whole batch. All processes come to the same decisions; rank 0 alone writes files.
"""

import os
import warnings
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather  # before a group exists: its defaults would keep it alive

from deepspeaker.errors import UserError
from deepspeaker.gpu import usable

T = TypeVar("T")


def start(device: str) -> torch.device:
    """Join the processes that torchrun started, if any; returns this process's device.

    device: "cpu", or "cuda": each process then takes one GPU. Tensors on GPUs are exchanged by NCCL, those on CPUs by
    Gloo.
    """
    started = "TORCHELASTIC_RUN_ID" in os.environ
    if device == "cuda":
        number, (there, why) = int(os.environ.get("LOCAL_RANK", 0)), usable()
        if number >= there:
            raise UserError(f"a GPU for {number + 1} processes of this machine was asked for, PyTorch finds {there}"
                            f"{f' ({why})' if why else ''}: lower --gpus (0: CPU)")
        torch.cuda.set_device(number)
    if not started:
        return torch.device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    return torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device("cpu")


def leave() -> None:
    """Leave the group, as every process does at the end of training: otherwise Gloo's threads may outlive the process,
    which then ends with SIGABRT.

    The threads end with the last reference to the group. A network in parallel() holds one, so it must be deleted
    before. After an error a process does not leave: the others may still wait for it.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(count: int) -> slice:
    """This process's part of `count` items, which the processes divide evenly, in their order."""
    part = count // size()
    return slice(rank() * part, (rank() + 1) * part)


def gather(embeddings: Tensor) -> Tensor:
    """This process's embeddings (B / size, E) -> those of all processes (B, E), with gradients.

    Backward adds up the gradients of all processes. As each computes the loss of the whole batch, the sum is `size`
    times the gradient; DistributedDataParallel then takes the mean over processes, which removes the factor.
    """
    if size() == 1:
        return embeddings
    with warnings.catch_warnings():  # its successor is not in every torch that requirements.txt allows
        warnings.simplefilter("ignore", FutureWarning)
        return torch.cat(all_gather(embeddings))


def gather_objects(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks; pickled, so for small values only."""
    values = [value] * size()
    if size() > 1:
        dist.all_gather_object(values, value)
    return values


def maximum(number: int) -> int:
    """The largest of all processes' numbers."""
    if size() == 1:
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


class Agreement:
    """The largest of all processes' numbers, one call later: no process waits for the exchange while it has other
    things to do."""

    def __init__(self) -> None:
        self._exchange: tuple[dist.Work, Tensor] | None = None

    def maximum(self, number: int) -> int:
        """Send this process's number, and return the largest of the numbers of the call before (0 at first). Without
        other processes, the number itself."""
        if size() == 1:
            return number
        before, largest = self.finish(), torch.tensor(number)
        self._exchange = dist.all_reduce(largest, dist.ReduceOp.MAX, async_op=True), largest
        return before

    def finish(self) -> int:
        """The largest of the numbers that were sent last; 0 if there are none."""
        if not self._exchange:
            return 0
        (work, largest), self._exchange = self._exchange, None
        work.wait()
        return int(largest)


def wait() -> None:
    """Wait until all processes have called this."""
    maximum(0)


def parallel(module: nn.Module) -> nn.Module:
    """The module with its gradients averaged over the processes; the module itself where there is one process.

    On CPUs the running statistics of rank 0 go to all processes before each step; on GPUs batch normalisation is
    synchronised, and all have the same already.
    """
    if size() == 1:
        return module
    on_gpu = next(module.parameters()).is_cuda
    with warnings.catch_warnings():  # the option has another name in the newest torch
        warnings.simplefilter("ignore", FutureWarning)
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=not on_gpu)


def align_buffers(module: nn.Module) -> None:
    """Copy the running statistics of rank 0 to all processes: on CPUs each has its own until the next step."""
    if size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)
