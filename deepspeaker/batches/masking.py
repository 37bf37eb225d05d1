"""Augmentation of windows of features: runs of frames and of mel bins are masked."""

import torch
from torch import Tensor


def draw_masks(frames: int, bins: int, time_mask: int, frequency_mask: int, uniform: Tensor) -> tuple[Tensor, ...]:
    """What to hide of windows (B, T, F): a run of frames of each, (B, T, 1) bool, and one of mel bins, (B, 1, F) bool.

    time_mask, frequency_mask: the longest run, in frames and bins (0: none, and no such tensor); a run's length is
    uniform from 0 to that. uniform: (2, 2, B) random numbers from 0 to 1: [0] length and place of the run of frames,
    [1] of the run of bins. After SpecAugment (Park et al. 2019), without its time warping.
    """
    masks = []
    for dim, size, longest, draw in ((1, frames, time_mask, uniform[0]), (2, bins, frequency_mask, uniform[1])):
        if longest:
            length = (draw[0] * (min(longest, size) + 1)).floor().unsqueeze(1)
            start = (draw[1].unsqueeze(1) * (size - length + 1)).floor()
            position = torch.arange(size)
            masks.append(((position >= start) & (position < start + length)).unsqueeze(3 - dim))
    return tuple(masks)


def mask(features: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
    """Set what the masks hide to 0, the mean of normalised features (B, T, F)."""
    for hidden in masks:
        features = features.masked_fill(hidden, 0.0)
    return features
