"""ResNets for speaker verification: those of He et al. 2016 with fewer channels, a first convolution of 3x3 and no
max-pooling. The ResNet34 is that of WeSpeaker (Wang et al. 2023, arXiv 2210.17016)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.errors import UserError
from deepspeaker.models.base import Network
from deepspeaker.models.padding import Ends, clear
from deepspeaker.models.pooling import build_pooling

Stride = tuple[int, int]  # of time and frequency


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut around them, (B, C, T, F) -> (B, C', T / stride, F / stride), rounded up.

    width: channels within the block, of which `expansion` times as many leave it.
    """

    expansion = 1

    def __init__(self, before: int, width: int, stride: Stride):
        super().__init__()
        after = self.expansion * width
        self.build(before, width, stride)
        self.stride = stride
        self.around = nn.Identity() if stride == (1, 1) and before == after else nn.Sequential(
            nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))

    def build(self, before: int, width: int, stride: Stride) -> None:
        """Make the layers of `within`."""
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def within(self, x: Tensor, ends: Ends | None) -> Tensor:
        y = F.relu(self.norm1(self.conv1(clear(x, ends, 2))))
        found: Tensor = self.norm2(self.conv2(clear(y, ends, 2)))
        return found

    def forward(self, x: Tensor, ends: Ends | None) -> Tensor:
        y = self.within(x, ends)
        if self.stride != (1, 1):
            # Every stride-th frame and frequency. A strided 1x1 convolution would do the same, but with fewer than 8
            # channels it crashes or hangs on CPUs (oneDNN 6035); slices make torch.compile compile each length anew.
            x = F.avg_pool2d(x, 1, self.stride)
        return F.relu(self.around(x) + y)


class Bottleneck(Block):
    """A 3x3 convolution between two of 1x1, the last of which widens fourfold (He et al. 2016, figure 5)."""

    expansion = 4

    def build(self, before: int, width: int, stride: Stride) -> None:
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, self.expansion * width, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(self.expansion * width)

    def within(self, x: Tensor, ends: Ends | None) -> Tensor:
        y = clear(F.relu(self.norm1(self.conv1(x))), ends, 2)
        found: Tensor = self.norm3(self.conv3(F.relu(self.norm2(self.conv2(y)))))
        return found


BLOCKS = {"basic": Block, "bottleneck": Bottleneck}


class ResNet(Network):
    """A 3x3 convolution, stages of blocks, pooling over time, affine, unit length.

    num_mel_bins: F; channels, blocks: one number for each stage; pooling: a name of POOLING; embedding_dim: E; block: a
    name of BLOCKS. Every stage but the first halves time and frequency, rounding up.
    ResNet34 has: channels 32, 64, 128, 256, blocks 3, 4, 6, 3, basic, statistics, E 256, F 80.
    """

    def __init__(self, num_mel_bins: int, *, channels: list[int], blocks: list[int], pooling: str, embedding_dim: int,
                 block: str = "basic"):
        super().__init__()
        if block not in BLOCKS:
            raise UserError(f"[model] block: no block {block!r}; there are: {', '.join(BLOCKS)}")
        if not channels or len(channels) != len(blocks):
            raise UserError(f"[model] channels, blocks: expected one number of each for every stage, found {channels} "
                            f"and {blocks}")
        width, frequencies = channels[0], num_mel_bins
        self.front = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        layers = []
        for stage, (after, count) in enumerate(zip(channels, blocks, strict=True)):
            for n in range(count):
                stride = 2 if stage and n == 0 else 1
                layers.append(BLOCKS[block](width, after, (stride, stride)))
                width, frequencies = BLOCKS[block].expansion * after, -(-frequencies // stride)
        self.body = nn.ModuleList(layers)
        self.pool, pooled = build_pooling(pooling, width * frequencies)
        self.embedding_dim, self.affine = embedding_dim, nn.Linear(pooled, embedding_dim)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs

    def frames(self, features: Tensor, ends: Ends | None) -> Tensor:
        """features (B, T, F) -> (B, T', D), as Network says."""
        x: Tensor = self.front(features.unsqueeze(1).contiguous(memory_format=torch.channels_last))
        for block in self.body:
            x = block(x, ends)
        return x.permute(0, 2, 1, 3).flatten(2)
