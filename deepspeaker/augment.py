"""Augmentation of windows on the device."""

import torch
from torch import Tensor


def mask(features: Tensor, time_mask: int, frequency_mask: int, generator: torch.Generator) -> Tensor:
    """Set one random run of frames and one of mel bins of each window to 0, the mean of normalised features.

    features: (B, T, F); time_mask, frequency_mask: the longest run, in frames and bins (0: none); a run's length is
    uniform from 0 to that. After SpecAugment (Park et al. 2019), without its time warping.
    """
    for dim, longest in ((1, time_mask), (2, frequency_mask)):
        if longest == 0:
            continue
        size = features.shape[dim]
        draw = torch.rand(2, len(features), 1, generator=generator, device=features.device)
        length = (draw[0] * (min(longest, size) + 1)).floor()
        start = (draw[1] * (size - length + 1)).floor()
        position = torch.arange(size, device=features.device)
        hidden = (position >= start) & (position < start + length)
        features = features.masked_fill(hidden.unsqueeze(3 - dim), 0.0)
    return features
