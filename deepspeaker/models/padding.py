"""Utterances of different lengths in one batch: zeros after each, which must not change its embedding."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MULTIPLE = 64  # frames: padded lengths are multiples of this, as oneDNN spends milliseconds on each new length


class Ends(NamedTuple):
    """Frames of each utterance of a batch, and of the padded batch."""

    frames: list[int]
    padded: int

    def at(self, size: int) -> list[int]:
        """Where the utterances end after layers that halved the batch's frames, rounding up, until `size` were left."""
        frames, padded = self
        while padded > size:
            frames, padded = [(count + 1) // 2 for count in frames], (padded + 1) // 2
        return frames


def pad(utterances: list[Tensor]) -> tuple[Tensor, Ends]:
    """Features (T, F) of several utterances -> one batch (B, T', F) with zeros after each, and where they end."""
    frames = [len(features) for features in utterances]
    padded = -(-max(frames) // MULTIPLE) * MULTIPLE
    batch = utterances[0].new_zeros(len(frames), padded, utterances[0].shape[1])
    for row, features in zip(batch, utterances, strict=True):
        row[:len(features)] = features
    return batch, Ends(frames, padded)


def clear(x: Tensor, ends: Ends | None, time: int) -> Tensor:
    """Set x (B, ...) to zero, in place, after each utterance's end along the dimension `time`, and return it.

    Normalisation leaves other values there, and a convolution would carry them into the utterance. Not for use with
    gradients, but where `ends` is None: then x stays as it is.
    """
    if ends is not None:
        for row, end in zip(x, ends.at(x.shape[time]), strict=True):
            row.narrow(time - 1, end, row.shape[time - 1] - end).zero_()
    return x


def each(pool: Callable[[Tensor], Tensor], x: Tensor, ends: Ends | None) -> Tensor:
    """pool(x) of x (B, T, D); in a padded batch, of the frames of each utterance alone."""
    if ends is None:
        return pool(x)
    return torch.cat([pool(x[i:i + 1, :end]) for i, end in enumerate(ends.at(x.shape[1]))])
