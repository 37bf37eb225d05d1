"""Processes that train one network together, started by torchrun. Without it there is one, which waits for nobody.

Every process draws the same batch, computes its share of it and looks at the whole: what is written, decided and
reported is the same in all of them, and rank 0 writes it.
"""

import os
import warnings
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather  # before the group is there: else its defaults keep it for ever

from deepspeaker.errors import UserError

T = TypeVar("T")


def start(device: str) -> torch.device:
    """Join the processes that torchrun started, if it did; the device of this one.

    `device`: "cpu" or "cuda"; of several GPUs each process takes its own. Tensors on a GPU are exchanged by NCCL,
    those on a CPU by Gloo.
    """
    started = "TORCHELASTIC_RUN_ID" in os.environ
    if device == "cuda":
        number, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if number >= there:
            raise UserError(f"a GPU for {number + 1} processes of this machine was asked for, PyTorch finds {there}: "
                            f"lower --gpus (0: CPU)")
        torch.cuda.set_device(number)
    if not started:
        return torch.device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    return torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device("cpu")


def leave() -> None:
    """Part in good order, as all processes do at their end: one that Gloo's threads outlive may end with SIGABRT. They
    end with the last reference to the group. A network in parallel() holds one, too, and must be gone before. After an
    error nobody leaves, for the others may still wait for this one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(count: int) -> slice:
    """This process's part of `count` items, which the processes divide evenly, in their order."""
    part = count // size()
    return slice(rank() * part, (rank() + 1) * part)


def gather(embeddings: Tensor) -> Tensor:
    """The embeddings (B, E) of all processes, of which this one has (B / size, E), with their gradients.

    Backward adds up the gradients of all processes. As each computes the loss of the whole batch, that is `size` times
    the gradient, and the mean over processes that DistributedDataParallel takes makes it the gradient again.
    """
    if size() == 1:
        return embeddings
    with warnings.catch_warnings():  # what replaces it is not in every torch that requirements.txt allows
        warnings.simplefilter("ignore", FutureWarning)
        return torch.cat(all_gather(embeddings))


def gather_objects(value: T) -> list[T]:
    """What each process has, in their order; pickled, so for small things of our own alone."""
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


def wait() -> None:
    """Until all processes are here."""
    maximum(0)


def parallel(module: nn.Module) -> nn.Module:
    """The module with its gradients averaged over the processes; itself where there is one."""
    return nn.parallel.DistributedDataParallel(module) if size() > 1 else module


def align_buffers(module: nn.Module) -> None:
    """Give all processes the running statistics of rank 0: on CPUs each has its own until the next step."""
    if size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)
