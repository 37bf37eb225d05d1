"""CAM++ (Wang, Zheng, Chen, Cheng & Chen 2023, arXiv 2303.00332): a densely connected TDNN whose layers mask their
output by what they hear around it, behind a small convolutional network. Time is the third of four dimensions
everywhere; behind that network the fourth has one value."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.errors import UserError
from deepspeaker.models.base import Network
from deepspeaker.models.padding import Ends, clear
from deepspeaker.models.pooling import build_pooling, mean
from deepspeaker.models.resnet import Block

SEGMENT = 100  # frames over which a layer's context is averaged


class Mask(nn.Module):
    """A gate for each channel and segment, computed from the means over the segment and over the utterance;
    (B, C, T, 1) -> (B, C', T, 1) within 0..1."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(before, before // 2, 1), nn.ReLU(), nn.Conv2d(before // 2, after, 1),
                                  nn.Sigmoid())

    def forward(self, x: Tensor, ends: Ends | None) -> Tensor:
        frames = x.shape[2]
        whole = mean(x.squeeze(3).transpose(1, 2), ends)
        segments = F.avg_pool2d(x, (SEGMENT, 1), ceil_mode=True)  # the last one over the frames that it has
        if ends is not None:  # over those that the utterance has
            start = torch.arange(0, frames, SEGMENT, device=x.device)
            own = (ends.at(frames).lengths.unsqueeze(1) - start).clamp(1, SEGMENT)
            segments *= ((frames - start).clamp_max(SEGMENT) / own).view(len(x), 1, -1, 1)
        gate: Tensor = self.gate(whole.view(len(x), -1, 1, 1) + segments)
        return gate.repeat_interleave(SEGMENT, 2)[:, :, :frames]


class Layer(nn.Module):
    """What a layer adds to a dense block, (B, C, T, 1) -> (B, growth, T, 1): narrowed to `bottleneck` channels,
    convolved over three frames, and masked."""

    def __init__(self, before: int, growth: int, bottleneck: int, dilation: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.narrow = nn.Conv2d(before, bottleneck, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck)
        self.conv = nn.Conv2d(bottleneck, growth, (3, 1), padding=(dilation, 0), dilation=(dilation, 1), bias=False)
        self.mask = Mask(bottleneck, growth)

    def forward(self, x: Tensor, ends: Ends | None) -> Tensor:
        x = self.narrow(F.relu(self.norm1(x), inplace=True))
        x = clear(F.relu(self.norm2(x), inplace=True), ends, 2)
        masked: Tensor = self.conv(x) * self.mask(x, ends)
        return masked


class DenseBlock(nn.Module):
    """Layers, each of which sees the block's input and what all layers before it have added, and one that halves the
    channels; (B, C, T, 1) -> (B, (C + count growth) / 2, T, 1)."""

    def __init__(self, before: int, count: int, growth: int, bottleneck: int, dilation: int):
        super().__init__()
        self.layers = nn.ModuleList(Layer(before + n * growth, growth, bottleneck, dilation) for n in range(count))
        grown = before + count * growth
        self.channels = grown // 2
        self.end = nn.Sequential(nn.BatchNorm2d(grown), nn.ReLU(inplace=True),
                                 nn.Conv2d(grown, self.channels, 1, bias=False))

    def forward(self, x: Tensor, ends: Ends | None) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x, ends)], dim=1)
        halved: Tensor = self.end(x)
        return halved


class CAMPlusPlus(Network):
    """A convolutional head that divides the frequencies by eight, a convolution that halves time, dense blocks, each of
    which ends in a layer of half its channels, pooling over time, affine, normalisation over the batch, unit length.

    num_mel_bins: F; head_channels: of the head; channels: behind the convolution; growth: channels that a layer adds;
    bottleneck: channels within it; layers, dilations: one number for each block; pooling: a name of POOLING;
    embedding_dim: E.
    The paper has: head_channels 32, channels 128, growth 32, bottleneck 128, layers 12, 24, 16, dilations 1, 2, 2,
    statistics, E 512, F 80.
    """

    def __init__(self, num_mel_bins: int, *, head_channels: int, channels: int, growth: int, bottleneck: int,
                 layers: list[int], dilations: list[int], pooling: str, embedding_dim: int):
        super().__init__()
        if not layers or len(layers) != len(dilations):
            raise UserError(f"[model] layers, dilations: expected one number of each for every block, found {layers} "
                            f"and {dilations}")
        width, halved = head_channels, (1, 2)
        self.front = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.head_blocks = nn.ModuleList(Block(width, width, stride) for stride in (halved, (1, 1), halved, (1, 1)))
        self.head_end = nn.Sequential(nn.Conv2d(width, width, 3, stride=halved, padding=1, bias=False),
                                      nn.BatchNorm2d(width), nn.ReLU())
        self.entrance = nn.Conv2d(width * -(-num_mel_bins // 8), channels, (5, 1), stride=(2, 1), padding=(2, 0),
                                  bias=False)
        self.entrance_norm = nn.BatchNorm2d(channels)
        self.blocks = nn.ModuleList()
        for count, dilation in zip(layers, dilations, strict=True):
            block = DenseBlock(channels, count, growth, bottleneck, dilation)
            self.blocks.append(block)
            channels = block.channels
        self.last_norm = nn.BatchNorm2d(channels)
        self.pool, pooled = build_pooling(pooling, channels)
        self.embedding_dim, self.affine = embedding_dim, nn.Linear(pooled, embedding_dim, bias=False)
        self.norm = nn.BatchNorm1d(embedding_dim, affine=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs

    def frames(self, features: Tensor, ends: Ends | None) -> Tensor:
        """features (B, T, F) -> (B, T', D), as Network says."""
        x: Tensor = self.front(features.unsqueeze(1).contiguous(memory_format=torch.channels_last))
        for block in self.head_blocks:
            x = block(x, ends)
        x = self.head_end(clear(x, ends, 2))
        x = x.permute(0, 1, 3, 2).flatten(1, 2).unsqueeze(3).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.entrance_norm(self.entrance(clear(x, ends, 2))))
        for block in self.blocks:
            x = block(x, ends)
        return F.relu(self.last_norm(x)).squeeze(3).transpose(1, 2)

    def head(self, pooled: Tensor) -> Tensor:
        """As Network says, before a batch normalisation."""
        found: Tensor = self.norm(self.affine(pooled))
        return found
