"""Augmentation of windows of features, on the device: frames and mel bins are masked."""

import torch
from torch import Tensor


def mask(features: Tensor, time_mask: int, frequency_mask: int, uniform: Tensor) -> Tensor:
    """Set one random run of frames and one of mel bins of each window to 0, the mean of normalised features.

    features: (B, T, F); time_mask, frequency_mask: the longest run, in frames and bins (0: none); a run's length is
    uniform from 0 to that. uniform: (2, 2, B) random numbers from 0 to 1: [0] length and place of the run of frames,
    [1] of the run of bins. After SpecAugment (Park et al. 2019), without its time warping.
    """
    for dim, longest, draw in ((1, time_mask, uniform[0]), (2, frequency_mask, uniform[1])):
        if longest == 0:
            continue
        size = features.shape[dim]
        length = (draw[0] * (min(longest, size) + 1)).floor().unsqueeze(1)
        start = (draw[1].unsqueeze(1) * (size - length + 1)).floor()
        position = torch.arange(size, device=features.device)
        hidden = (position >= start) & (position < start + length)
        features = features.masked_fill(hidden.unsqueeze(3 - dim), 0.0)
    return features
