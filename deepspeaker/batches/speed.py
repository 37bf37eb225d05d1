"""Speech at another speed, whose speakers count as new ones (Ko et al. 2015), by a polyphase resampler."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from deepspeaker.config_checks import as_fraction

ZEROS = 20  # zero crossings of the filter on each side
ROLLOFF = 0.95  # of the lower of the two Nyquist frequencies: where the filter's band ends
KAISER = 6.0  # the window's shape: what lies well beyond the band is some 60 dB weaker
AT_ONCE = 40  # output samples, at least, that one product of matrices gives: fewer take longer


class Speeds:
    """How often which speed is drawn.

    factors: 1 and, where `chance` is above 0, the others. weights: of each factor, sum 1; `chance` is shared evenly by
    the others.
    """

    def __init__(self, others: Sequence[float] = (), chance: float = 0.0):
        self.factors = (Fraction(1), *map(as_fraction, others if chance else ()))
        self.weights = np.array([1 - chance, *[chance / len(others)] * len(others)]) if chance else np.ones(1)

    def names(self, speakers: Sequence[str]) -> list[str]:
        """The speakers, and behind them those of each other speed, named as those of copies are."""
        return [name if factor == 1 else f"sp{float(factor):g}-{name}" for factor in self.factors for name in speakers]


def change_speed(samples: Tensor, speed: Fraction) -> Tensor:
    """(n, S) -> (n, S / speed, rounded down): so many times faster, pitch and formants with it.

    Output sample m is the input at m * speed, interpolated by a windowed sinc; beyond its ends the input is zero.
    """
    together = -(-AT_ONCE // speed.denominator)
    down, up = together * speed.numerator, together * speed.denominator
    kernel, before = _kernel(down, up, samples.device)
    out = int(samples.shape[-1] / speed)
    blocks = -(-out // up)
    after = max(0, (blocks - 1) * down + len(kernel) - before - samples.shape[-1])
    frames = torch.nn.functional.pad(samples, (before, after)).unfold(-1, len(kernel), down)[:, :blocks]
    return (frames @ kernel).flatten(1)[:, :out]


@lru_cache
def _kernel(down: int, up: int, device: torch.device) -> tuple[Tensor, int]:
    """(taps, up): column p gives the p-th of `up` output samples, which lies p * down / up input samples behind the
    first; and how many samples the taps begin before it."""
    band = ROLLOFF * min(1.0, up / down)  # cycles per two input samples
    reach = math.ceil(ZEROS / band)
    place = torch.arange(up, dtype=torch.float64) * (down / up)
    tap = torch.arange(-reach, math.ceil(float(place[-1])) + reach + 1, dtype=torch.float64)
    distance = tap.unsqueeze(1) - place
    inside = (1 - (distance * band / ZEROS).square()).clamp_min(0)
    window = torch.i0(KAISER * inside.sqrt()) / torch.i0(torch.tensor(KAISER, dtype=torch.float64))
    return (band * torch.sinc(distance * band) * window * (inside > 0)).float().to(device), reach
