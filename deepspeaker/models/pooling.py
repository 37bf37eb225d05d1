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
    average, variance = _moments(x, ends)
    return torch.cat([average, (variance + 1e-5).sqrt()], dim=1)


def wespeaker_statistics(x: Tensor, ends: Ends | None = None) -> Tensor:
    """The same as WeSpeaker computes them (its TSTP): the variance over T - 1, plus 1e-7. One frame has no variance."""
    average, variance = _moments(x, ends)
    return torch.cat([average, (_unbiased(variance, x, ends) + 1e-7).sqrt()], dim=1)


def speaker3d_statistics(x: Tensor, ends: Ends | None = None) -> Tensor:
    """The same as 3D-Speaker computes them in CAM++: the variance over T - 1; here at least 1e-20, so that values
    that do not change have a gradient. One frame has no variance."""
    average, variance = _moments(x, ends)
    return torch.cat([average, _unbiased(variance, x, ends).clamp_min(1e-20).sqrt()], dim=1)


def _moments(x: Tensor, ends: Ends | None) -> tuple[Tensor, Tensor]:
    """Mean and variance over time, each (B, D)."""
    if ends is None:
        variance, average = torch.var_mean(x, dim=1, correction=0)
    else:
        average = mean(x, ends)
        variance = mean((x - average.unsqueeze(1)).square_(), ends)
    return average, variance


def _unbiased(variance: Tensor, x: Tensor, ends: Ends | None) -> Tensor:
    """The variance over T frames -> that over T - 1."""
    frames = x.shape[1]
    if ends is None:
        found: Tensor = variance * (frames / torch.sym_max(frames - 1, 1))
        return found
    lengths = ends.at(frames).lengths.unsqueeze(1)
    return variance * (lengths / (lengths - 1).clamp_min(1))


class Attentive(nn.Module):
    """Mean and standard deviation over time, weighted by an attention for each dimension; (B, T, D) -> (B, 2 D).

    The attention sees the frame, and mean and standard deviation of all frames (Desplanques et al. 2020, ECAPA-TDNN,
    "channel- and context-dependent statistics pooling"). Its first layer is split in two: the part that sees mean and
    deviation is the same for all frames and computed once.
    """

    statistics = staticmethod(statistics)  # of all frames

    def __init__(self, size: int):
        super().__init__()
        self.frame = nn.Linear(size, ATTENTION)
        self.context = nn.Linear(2 * size, ATTENTION, bias=False)
        self.score = nn.Linear(ATTENTION, size)

    def forward(self, x: Tensor, ends: Ends | None = None) -> Tensor:
        hidden = torch.tanh(self.frame(x) + self.context(self.statistics(x, ends)).unsqueeze(1))
        score = full(self.score(hidden))
        if ends is not None:  # weight 0 behind the ends
            level = ends.at(x.shape[1])
            score[:, level.shortest:] += level.inside.log().unsqueeze(2)
        weight = score.softmax(1)
        average = (weight * x).sum(1)
        variance = (weight * (x - average.unsqueeze(1)).square()).sum(1)
        return torch.cat([average, self.deviation(variance)], dim=1)

    @staticmethod
    def deviation(variance: Tensor) -> Tensor:
        """The standard deviation of the weighted frames, from their variance."""
        return (variance + 1e-5).sqrt()


class WeSpeakerAttentive(Attentive):
    """The same as WeSpeaker computes it (its ASTP)."""

    statistics = staticmethod(wespeaker_statistics)

    @staticmethod
    def deviation(variance: Tensor) -> Tensor:
        return variance.clamp_min(1e-7).sqrt()


Pool = Callable[[Tensor, Ends | None], Tensor]
POOLING: dict[str, tuple[Callable[[int], Pool], int]] = {  # name -> (its maker for D values per frame, D' / D)
    "mean": (lambda size: mean, 1), "statistics": (lambda size: statistics, 2), "attentive": (Attentive, 2),
    "statistics_wespeaker": (lambda size: wespeaker_statistics, 2), "attentive_wespeaker": (WeSpeakerAttentive, 2),
    "statistics_3dspeaker": (lambda size: speaker3d_statistics, 2)}


def build_pooling(name: str, size: int) -> tuple[Pool, int]:
    """The pooling of frames of D = `size` values, and D', the number of its values; UserError lists the valid names."""
    if name not in POOLING:
        raise UserError(f"[model] pooling: no pooling {name!r}; there are: {', '.join(POOLING)}")
    make, widening = POOLING[name]
    return make(size), widening * size


def full(x: Tensor) -> Tensor:
    """x in at least float32: the lower precision of mixed-precision training does not suffice for sums and norms."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
