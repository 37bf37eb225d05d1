"""The end of every network: pooling over time, (B, T, D) -> (B, D') whatever T is, and the length of embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor

from deepspeaker.command import UserError


def mean(x: Tensor) -> Tensor:
    """Mean over time, (B, T, D) -> (B, D): the paper's pooling."""
    return x.mean(1)


def statistics(x: Tensor) -> Tensor:
    """Mean and standard deviation over time, (B, T, D) -> (B, 2 D) (Snyder et al. 2018, x-vectors)."""
    variance, average = torch.var_mean(x, dim=1, correction=0)
    return torch.cat([average, (variance + 1e-5).sqrt()], dim=1)


POOLING = {"mean": (mean, 1), "statistics": (statistics, 2)}  # the function, and how much wider it makes D


def pooling(name: str):
    """(function, widening) of a pooling; UserError lists the valid names."""
    if name not in POOLING:
        raise UserError(f"[model] pooling: no pooling {name!r}; there are: {', '.join(POOLING)}")
    return POOLING[name]


def full(x: Tensor) -> Tensor:
    """float32 where mixed precision left less: sums over time and lengths need it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(x: Tensor) -> Tensor:
    """Embeddings (B, E) of length one, in at least float32."""
    return F.normalize(full(x))
