"""The paper's residual convolutional network (Li et al., Deep Speaker, arXiv 1705.02304, section 3)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.errors import UserError
from deepspeaker.models.base import Network
from deepspeaker.models.padding import Ends, clear
from deepspeaker.models.pooling import build_pooling


class ChannelFrequencyNorm(nn.Module):
    """Batch normalisation with separate statistics, scale and offset for each channel and frequency."""

    def __init__(self, channels: int, frequencies: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels * frequencies)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, F) -> (B, C, T, F)."""
        batch, channels, frames, frequencies = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(batch, frames, 1, frequencies * channels)
        normalised: Tensor = self.norm(rows.permute(0, 3, 1, 2))
        rows = normalised.permute(0, 2, 3, 1)
        return rows.reshape(batch, frames, frequencies, channels).permute(0, 3, 1, 2)


def channel_norm(channels: int, frequencies: int) -> nn.Module:
    """Batch normalisation for each channel over all frequencies."""
    return nn.BatchNorm2d(channels)


Norm = Callable[[int, int], nn.Module]  # called with (channels, frequencies)
NORMS: dict[str, Norm] = {"channel": channel_norm, "channel_frequency": ChannelFrequencyNorm}


def find_norm(name: str) -> Norm:
    """The maker of the batch normalisation of this name; UserError lists the valid names."""
    if name not in NORMS:
        raise UserError(f"[model] batch_norm: no normalisation {name!r}; there are: {', '.join(NORMS)}")
    return NORMS[name]


def clipped_relu(x: Tensor) -> Tensor:
    """min(max(x, 0), 20), element by element."""
    return F.hardtanh(x, 0.0, 20.0)


class Entrance(nn.Module):
    """A 5x5 convolution that halves time and frequency, rounding up; (B, C, T, F) -> (B, C', T', F')."""

    def __init__(self, before: int, after: int, frequencies: int, norm: Norm):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 5, stride=2, padding=2, bias=False)
        self.norm = norm(after, frequencies)

    def forward(self, x: Tensor, ends: Ends | None) -> Tensor:
        return clipped_relu(self.norm(self.conv(clear(x, ends, 2))))


class Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut around them; (B, C, T, F) -> the same shape."""

    def __init__(self, channels: int, frequencies: int, norm: Norm):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = norm(channels, frequencies)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = norm(channels, frequencies)

    def forward(self, x: Tensor, ends: Ends | None) -> Tensor:
        y = clipped_relu(self.norm1(self.conv1(clear(x, ends, 2))))
        return clipped_relu(x + self.norm2(self.conv2(clear(y, ends, 2))))


class ResCNN(Network):
    """Stages of [5x5 convolution with stride 2, residual blocks], pooling over time, affine, unit length.

    num_mel_bins: F; channels: one number for each stage; blocks: residual blocks in each stage; batch_norm: a name of
    NORMS; pooling: a name of POOLING; embedding_dim: E. Every stage halves time and frequency, rounding up.
    """

    def __init__(self, num_mel_bins: int, *, channels: list[int], blocks: int, batch_norm: str, pooling: str,
                 embedding_dim: int):
        super().__init__()
        norm, frequencies = find_norm(batch_norm), num_mel_bins
        layers: list[nn.Module] = []
        for previous, width in zip([1, *channels], channels, strict=False):
            frequencies = (frequencies + 1) // 2
            layers += [Entrance(previous, width, frequencies, norm)]
            layers += [Residual(width, frequencies, norm) for _ in range(blocks)]
        self.body = nn.ModuleList(layers)
        self.pool, pooled = build_pooling(pooling, channels[-1] * frequencies)
        self.embedding_dim, self.affine = embedding_dim, nn.Linear(pooled, embedding_dim)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs

    def frames(self, features: Tensor, ends: Ends | None) -> Tensor:
        """features (B, T, F) -> (B, T', D), as Network says."""
        x = features.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for layer in self.body:
            x = layer(x, ends)
        return x.permute(0, 2, 1, 3).flatten(2)
