"""The end of every network: pooling over time, (B, T, D) -> (B, D') whatever T is, and the length of embeddings."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.errors import UserError

ATTENTION = 128  # hidden units of attentive pooling (Desplanques et al. 2020)


def mean(x: Tensor) -> Tensor:
    """Mean over time, (B, T, D) -> (B, D): the paper's pooling."""
    return x.mean(1)


def statistics(x: Tensor) -> Tensor:
    """Mean and standard deviation over time, (B, T, D) -> (B, 2 D) (Snyder et al. 2018, x-vectors)."""
    variance, average = torch.var_mean(x, dim=1, correction=0)
    return torch.cat([average, (variance + 1e-5).sqrt()], dim=1)


class Attentive(nn.Module):
    """Statistics of frames weighted by an attention of its own for each dimension, (B, T, D) -> (B, 2 D).

    The attention sees the frame, and mean and standard deviation of all frames (Desplanques et al. 2020, ECAPA-TDNN,
    "channel- and context-dependent statistics pooling"). Of the layer over all three, the part that is the same for
    each frame is computed once.
    """

    def __init__(self, size: int):
        super().__init__()
        self.frame = nn.Linear(size, ATTENTION)
        self.context = nn.Linear(2 * size, ATTENTION, bias=False)
        self.score = nn.Linear(ATTENTION, size)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.frame(x) + self.context(statistics(x)).unsqueeze(1))
        weight = full(self.score(hidden)).softmax(1)
        average = (weight * x).sum(1)
        variance = (weight * (x - average.unsqueeze(1)).square()).sum(1)
        return torch.cat([average, (variance + 1e-5).sqrt()], dim=1)


POOLING = {"mean": (mean, 1), "statistics": (statistics, 2), "attentive": (Attentive, 2)}  # and how much wider than D


def build_pooling(name: str, size: int) -> tuple[Callable[[Tensor], Tensor], int]:
    """The pooling of D = `size` values a frame, and how many it gives; UserError lists the valid names."""
    if name not in POOLING:
        raise UserError(f"[model] pooling: no pooling {name!r}; there are: {', '.join(POOLING)}")
    pool, widening = POOLING[name]
    return pool(size) if isinstance(pool, type) else pool, widening * size


def full(x: Tensor) -> Tensor:
    """float32 where mixed precision left less: sums over time and lengths need it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(x: Tensor) -> Tensor:
    """Embeddings (B, E) of length one, in at least float32."""
    return F.normalize(full(x))
