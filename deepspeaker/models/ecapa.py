"""ECAPA-TDNN (Desplanques, Thienpondt & Demuynck 2020, arXiv 2005.07143). Inside, time is the last dimension."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.errors import UserError
from deepspeaker.models.base import Network
from deepspeaker.models.padding import Ends, clear
from deepspeaker.models.pooling import build_pooling, mean

BLOCK_INPUTS = ("sum", "previous")


def layer(before: int, after: int, size: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution over `size` frames, ReLU, batch normalisation; (B, C, T) -> (B, C', T)."""
    return nn.Sequential(nn.Conv1d(before, after, size, padding=dilation * (size // 2), dilation=dilation), nn.ReLU(),
                         nn.BatchNorm1d(after))


class Res2(nn.Module):
    """The channels in `scale` parts: the first is passed on, the second is convolved, and to each further part the
    output of the one before is added, then it is convolved (Gao et al. 2019, Res2Net); (B, C, T) -> the same shape."""

    def __init__(self, channels: int, scale: int, dilation: int):
        super().__init__()
        self.parts = nn.ModuleList(layer(channels // scale, channels // scale, 3, dilation) for _ in range(scale - 1))

    def forward(self, x: Tensor, ends: Ends | None) -> Tensor:
        first, second, *others = x.chunk(len(self.parts) + 1, dim=1)
        found = [first, self.parts[0](clear(second, ends, 2))]
        for part, other in zip(self.parts[1:], others, strict=True):
            found.append(part(clear(other + found[-1], ends, 2)))
        return torch.cat(found, dim=1)


class SqueezeExcitation(nn.Module):
    """Each channel times a gate, computed from the means of all channels over time (Hu et al. 2018); (B, C, T) -> the
    same shape."""

    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(channels, bottleneck), nn.ReLU(), nn.Linear(bottleneck, channels),
                                  nn.Sigmoid())

    def forward(self, x: Tensor, ends: Ends | None) -> Tensor:
        gate: Tensor = self.gate(mean(x.transpose(1, 2), ends))
        return x * gate.unsqueeze(2)


class Block(nn.ModuleList):
    """SE-Res2Block without its shortcut; (B, C, T) -> the same shape."""

    def __init__(self, channels: int, scale: int, dilation: int, bottleneck: int):
        super().__init__([layer(channels, channels), Res2(channels, scale, dilation), layer(channels, channels),
                          SqueezeExcitation(channels, bottleneck)])

    def forward(self, x: Tensor, ends: Ends | None) -> Tensor:
        before, res2, after, gate = self
        x = gate(after(res2(before(x), ends)), ends)
        return x


class ECAPA(Network):
    """A convolution over 5 frames, SE-Res2Blocks, aggregation of their outputs, pooling over time, affine, unit length.

    num_mel_bins: F; channels: of every block; scale: parts in a block's Res2 layer; dilations: one number for each
    block; bottleneck: width of squeeze and excitation; aggregation: values in each frame before pooling; pooling: a
    name of POOLING; embedding_dim: E; block_input: "sum", of all outputs before it, or the "previous" one alone;
    last_norm: whether a batch normalisation follows the affine layer.
    The paper has: channels 512 or 1024, scale 8, dilations 2, 3, 4, bottleneck 128, aggregation 1536, attentive, E 192,
    sum, true, F 80.
    """

    def __init__(self, num_mel_bins: int, *, channels: int, scale: int, dilations: list[int], bottleneck: int,
                 aggregation: int, pooling: str, embedding_dim: int, block_input: str = "sum", last_norm: bool = True):
        super().__init__()
        if block_input not in BLOCK_INPUTS:
            raise UserError(f"[model] block_input: expected one of: {', '.join(BLOCK_INPUTS)}, found {block_input!r}")
        if scale < 2 or channels % scale:
            raise UserError(f"[model] scale: expected at least 2 and a divisor of channels, found {scale} and "
                            f"{channels} channels")
        if not dilations:
            raise UserError("[model] dilations: expected one number for each block, found none")
        self.front = layer(num_mel_bins, channels, 5)
        self.blocks = nn.ModuleList(Block(channels, scale, dilation, bottleneck) for dilation in dilations)
        self.aggregate = nn.Conv1d(channels * len(dilations), aggregation, 1)
        self.pool, pooled = build_pooling(pooling, aggregation)
        self.pooled_norm = nn.BatchNorm1d(pooled)
        self.embedding_dim, self.affine = embedding_dim, nn.Linear(pooled, embedding_dim)
        self.norm = nn.BatchNorm1d(embedding_dim) if last_norm else nn.Identity()
        self.sums = block_input == "sum"

    def frames(self, features: Tensor, ends: Ends | None) -> Tensor:
        """features (B, T, F) -> (B, T', D), as Network says."""
        before = self.front(features.transpose(1, 2))
        outputs = []
        for block in self.blocks:
            outputs.append(before + block(before, ends))
            before = before + outputs[-1] if self.sums else outputs[-1]
        return F.relu(self.aggregate(torch.cat(outputs, dim=1))).transpose(1, 2)

    def head(self, pooled: Tensor) -> Tensor:
        """As Network says, behind a batch normalisation and, with last_norm, between two."""
        found: Tensor = self.norm(self.affine(self.pooled_norm(pooled)))
        return found
