"""Pooling over time, (B, T, D) -> (B, D') for any T."""

from collections.abc import Callable

import torch
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
    """Mean and standard deviation over time, weighted by an attention for each dimension; (B, T, D) -> (B, 2 D).

    The attention sees the frame, and mean and standard deviation of all frames (Desplanques et al. 2020, ECAPA-TDNN,
    "channel- and context-dependent statistics pooling"). Its first layer is split in two: the part that sees mean and
    deviation is the same for all frames and computed once.
    """

    def __init__(self, size: int):
        super().__init__()
        self.frame = nn.Linear(size, ATTENTION)
        self.context = nn.Linear(2 * size, ATTENTION, bias=False)
        self.score = nn.Linear(ATTENTION, size)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.frame(x) + self.context(statistics(x)).unsqueeze(1))
        weight = self.score(hidden).softmax(1)
        average = (weight * x).sum(1)
        variance = (weight * (x - average.unsqueeze(1)).square()).sum(1)
        return torch.cat([average, (variance + 1e-5).sqrt()], dim=1)


Pool = Callable[[Tensor], Tensor]
POOLING: dict[str, tuple[Callable[[int], Pool], int]] = {  # name -> (its maker for D values per frame, D' / D)
    "mean": (lambda size: mean, 1), "statistics": (lambda size: statistics, 2), "attentive": (Attentive, 2)}


def build_pooling(name: str, size: int) -> tuple[Pool, int]:
    """The pooling of frames of D = `size` values, and D', the number of its values; UserError lists the valid names."""
    if name not in POOLING:
        raise UserError(f"[model] pooling: no pooling {name!r}; there are: {', '.join(POOLING)}")
    make, widening = POOLING[name]
    return make(size), widening * size
