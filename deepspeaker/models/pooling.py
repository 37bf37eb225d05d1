"""Pooling over time, (B, T, D) -> (B, D') for any T; in a padded batch, over the frames of each utterance."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from deepspeaker.errors import UserError
from deepspeaker.models.padding import Ends, clear

ATTENTION = 128  # hidden units of attentive pooling (Desplanques et al. 2020)


def mean(x: Tensor, ends: Ends | None = None) -> Tensor:
    """Mean over time, (B, T, D) -> (B, D): the paper's pooling. Behind the ends, x becomes 0."""
    if ends is None:
        return x.mean(1)
    return clear(x, ends, 1).sum(1) / ends.at(x.shape[1]).lengths.unsqueeze(1)


def statistics(x: Tensor, ends: Ends | None = None) -> Tensor:
    """Mean and standard deviation over time, (B, T, D) -> (B, 2 D) (Snyder et al. 2018, x-vectors). Behind the ends, x
    becomes 0."""
    if ends is None:
        variance, average = torch.var_mean(x, dim=1, correction=0)
    else:
        average = mean(x, ends)
        variance = mean((x - average.unsqueeze(1)).square_(), ends)
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

    def forward(self, x: Tensor, ends: Ends | None = None) -> Tensor:
        hidden = torch.tanh(self.frame(x) + self.context(statistics(x, ends)).unsqueeze(1))
        score = full(self.score(hidden))
        if ends is not None:  # weight 0 behind the ends
            level = ends.at(x.shape[1])
            score[:, level.shortest:] += level.inside.log().unsqueeze(2)
        weight = score.softmax(1)
        average = (weight * x).sum(1)
        variance = (weight * (x - average.unsqueeze(1)).square()).sum(1)
        return torch.cat([average, (variance + 1e-5).sqrt()], dim=1)


Pool = Callable[[Tensor, Ends | None], Tensor]
POOLING: dict[str, tuple[Callable[[int], Pool], int]] = {  # name -> (its maker for D values per frame, D' / D)
    "mean": (lambda size: mean, 1), "statistics": (lambda size: statistics, 2), "attentive": (Attentive, 2)}


def build_pooling(name: str, size: int) -> tuple[Pool, int]:
    """The pooling of frames of D = `size` values, and D', the number of its values; UserError lists the valid names."""
    if name not in POOLING:
        raise UserError(f"[model] pooling: no pooling {name!r}; there are: {', '.join(POOLING)}")
    make, widening = POOLING[name]
    return make(size), widening * size


def full(x: Tensor) -> Tensor:
    """x in at least float32: the lower precision of mixed-precision training does not suffice for sums and norms."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
