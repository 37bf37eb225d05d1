"""Utterances of different lengths in one batch: zeros behind each, which must not reach what is computed of it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MULTIPLE = 64  # frames of a padded batch: what oneDNN prepares for each length that it meets takes milliseconds


class Ends(NamedTuple):
    """Frames of each utterance of a batch, and of the batch."""

    frames: list[int]
    padded: int

    def at(self, size: int) -> list[int]:
        """Where the utterances end after layers that left `size` frames of the batch, by halving, rounded up."""
        frames, padded = self
        while padded > size:
            frames, padded = [(count + 1) // 2 for count in frames], (padded + 1) // 2
        return frames


def pad(utterances: list[Tensor]) -> tuple[Tensor, Ends]:
    """Features (T, F) of several utterances -> (B, T', F) with zeros behind each, and where they end."""
    frames = [len(features) for features in utterances]
    padded = -(-max(frames) // MULTIPLE) * MULTIPLE
    batch = utterances[0].new_zeros(len(frames), padded, utterances[0].shape[1])
    for row, features in zip(batch, utterances, strict=True):
        row[:len(features)] = features
    return batch, Ends(frames, padded)


def clear(x: Tensor, ends: Ends | None, time: int) -> Tensor:
    """x (B, ...) with zeros, in place, behind each utterance's end along the dimension `time`; before a convolution,
    which would carry what normalisation left there into the utterance. Without gradients only."""
    if ends is not None:
        for row, end in zip(x, ends.at(x.shape[time]), strict=True):
            row.narrow(time - 1, end, row.shape[time - 1] - end).zero_()
    return x


def each(pool: Callable[[Tensor], Tensor], x: Tensor, ends: Ends | None) -> Tensor:
    """pool(x) of (B, T, D), where there is padding of each utterance alone."""
    if ends is None:
        return pool(x)
    return torch.cat([pool(row[:, :end]) for row, end in zip(x.split(1), ends.at(x.shape[1]), strict=True)])
