"""Augmentation: of samples when audio is read (the file `augment` of a data directory), of windows on the device."""

import numpy as np
import soxr
import torch
from torch import Tensor

from deepspeaker.command import UserError


def augment(samples: np.ndarray, rate: int, description: str) -> np.ndarray:
    """Samples (S,) changed as the value of a line of `augment` says: `speed 0.9`."""
    try:
        kind, value = description.split()
        return SAMPLES[kind](samples, rate, float(value))
    except (KeyError, ValueError):
        raise UserError(f"augment: expected '{'|'.join(SAMPLES)} NUMBER', found {description!r}") from None


def change_speed(samples: np.ndarray, rate: int, speed: float) -> np.ndarray:
    """(S,) -> (S / speed,): played so much faster, pitch and formants with it (Ko et al. 2015)."""
    return soxr.resample(samples, speed * rate, rate)


SAMPLES = {"speed": change_speed}


def mask(features: Tensor, time_mask: int, frequency_mask: int, uniform: Tensor) -> Tensor:
    """Set one random run of frames and one of mel bins of each window to 0, the mean of normalised features.

    features: (B, T, F); time_mask, frequency_mask: the longest run, in frames and bins (0: none); a run's length is
    uniform from 0 to that. uniform: (2, 2, B) random numbers from 0 to 1, length and place of the run of frames and
    of that of bins. After SpecAugment (Park et al. 2019), without its time warping.
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
