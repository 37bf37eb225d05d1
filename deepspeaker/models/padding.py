"""Utterances of different lengths in one batch: what lies behind the end of one must not change its embedding."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MULTIPLE = 64  # frames: padded lengths are multiples of this, as oneDNN spends milliseconds on each new length


def padded_length(longest: int) -> int:
    """The frames of a batch whose longest utterance has `longest`."""
    return -(-longest // MULTIPLE) * MULTIPLE


class Level(NamedTuple):
    """Where the utterances of a batch end at one resolution in time."""

    shortest: int  # where the first of them ends
    lengths: Tensor  # (B,) where each ends
    inside: Tensor  # (B, T - shortest), of the frames from `shortest` on: 1 before the utterance's end, 0 behind it


class Ends:
    """Where the utterances of a padded batch end, in each layer. Each level is made once, on the batch's device, and
    nothing waits for it.

    frames: of each utterance; padded: of the batch; lengths: `frames` as a tensor on the batch's device.
    """

    def __init__(self, frames: Sequence[int], padded: int, lengths: Tensor):
        self._shortest, self._padded, self._lengths = min(frames), padded, lengths
        self._levels: dict[int, Level] = {}

    def at(self, size: int) -> Level:
        """The level of layers that halved the batch's frames, rounding up, until `size` were left."""
        if size not in self._levels:
            shortest, padded, lengths = self._shortest, self._padded, self._lengths
            while padded > size:
                shortest, padded, lengths = (shortest + 1) // 2, (padded + 1) // 2, (lengths + 1) // 2
            place = torch.arange(shortest, size, device=lengths.device)
            self._levels[size] = Level(shortest, lengths, (place < lengths.unsqueeze(1)).float())
        return self._levels[size]


def clear(x: Tensor, ends: Ends | None, time: int) -> Tensor:
    """Set x (B, ...) to zero, in place, behind each utterance's end along the dimension `time`, and return it.

    Normalisation leaves other values there, and a convolution would carry them into the utterance. Not for use with
    gradients, but where `ends` is None: then x stays as it is.
    """
    if ends is not None:
        level = ends.at(x.shape[time])
        shape = [len(x), *(1 for _ in x.shape[1:])]
        shape[time] = -1
        x.narrow(time, level.shortest, x.shape[time] - level.shortest).mul_(level.inside.view(shape))
    return x
