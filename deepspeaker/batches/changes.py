"""Changes to windows of samples, a batch at a time, on any device: rooms, added sounds, telephones.

All take and give samples (n, S) float32, about within -1..1.
"""

import math
from functools import lru_cache

import torch
from scipy.fft import next_fast_len
from torch import Tensor

QUIETEST = 1e-6  # root mean square; of a window in which one 16-bit sample in a thousand is not zero
FAINTEST = 1e-15  # level by which to divide where all may be zeros
MU, CODES = 255.0, 127  # of mu-law: its constant, and how many values it has on each side of 0
LEVELS = 32767  # of 16-bit samples, on each side of 0


def level(samples: Tensor) -> Tensor:
    """(..., S) -> (..., 1): the square root of the sum of squares, which is that of the power but for the length."""
    found: Tensor = torch.linalg.vector_norm(samples, dim=-1, keepdim=True)
    return found


def reverberate(samples: Tensor, responses: Tensor, before: int) -> Tensor:
    """(n, before + S) -> (n, before + S): as heard in rooms, the last S samples of each with the power they had.

    responses: (n, R) impulse responses, of any level, that begin with the direct sound. The first `before` samples are
    there to echo in the others; what they become themselves is not said.
    """
    size = samples.shape[-1]
    least = max(size, size - before + responses.shape[-1])  # what comes round then stays within the first `before`
    transform = _fast_length(least, samples.device)
    wet = torch.fft.irfft(torch.fft.rfft(samples, transform) * torch.fft.rfft(responses, transform), transform)
    wet = wet[:, :size]
    scaled: Tensor = wet * (level(samples[:, before:]) / level(wet[:, before:]).clamp_min(FAINTEST))
    return scaled


def add(samples: Tensor, sounds: Tensor, snr: Tensor) -> Tensor:
    """Sounds (n, S) added so that they lie snr (n, 1) dB below the samples; nothing is added to or of silence, and
    sounds below QUIETEST are added as much more weakly."""
    gain = 10 ** (snr / -20) * level(samples) / level(sounds).clamp_min(QUIETEST * math.sqrt(samples.shape[-1]))
    return torch.addcmul(samples, gain, sounds)


def telephone(samples: Tensor, low: Tensor, high: Tensor, loudness: Tensor, rate: int) -> Tensor:
    """Through a telephone: band limits, too loud a level, which clips, and 8-bit mu-law (ITU-T G.711).

    low, high: (n, 1) Hz, where the band is 3 dB down (a Butterworth's slope of 24 dB per octave). loudness: (n, 1), the
    window's largest sample after the level was set; what is above 1 is clipped. The power becomes again what it was.
    """
    size = samples.shape[-1]
    transform = _fast_length(size, samples.device)
    hertz = _hertz_to_the_8th(transform, rate, samples.device)
    response = ((1 + low ** 8 / hertz) * (1 + hertz / high ** 8)).rsqrt()
    band = torch.fft.irfft(torch.fft.rfft(samples, transform) * response, transform)[:, :size]
    loud = (band * (loudness / band.abs().amax(-1, keepdim=True).clamp_min(FAINTEST))).clamp(-1, 1)
    heard = mu_law(loud)
    return heard * (level(samples) / level(heard).clamp_min(FAINTEST))


def mixed(voices: Tensor) -> Tensor:
    """Voices (n, K, S), some of them zeros -> (n, S): their sum, all equally loud; one below QUIETEST stays quieter."""
    return (voices / level(voices).clamp_min(QUIETEST * math.sqrt(voices.shape[-1]))).sum(1)


def mu_law(samples: Tensor) -> Tensor:
    """Samples within -1..1 rounded to the 255 values of 8-bit mu-law."""
    return _decoded(samples.device)[(samples.nan_to_num() * LEVELS + (LEVELS + 0.5)).int()]


@lru_cache
def _decoded(device: torch.device) -> Tensor:
    """What 8-bit mu-law makes of each value that 16 bits can have, (2 * LEVELS + 1,)"""
    value = torch.linspace(-1, 1, 2 * LEVELS + 1, dtype=torch.float64)
    code = (torch.log1p(MU * value.abs()) / math.log1p(MU) * CODES).round()
    return (torch.sign(value) * torch.expm1(code / CODES * math.log1p(MU)) / MU).float().to(device)


def _fast_length(least: int, device: torch.device) -> int:
    """A length of which Fourier transforms are fast. On a GPU a power of two: few lengths, as each needs a plan."""
    return next_fast_len(least, real=True) if device.type == "cpu" else 1 << (least - 1).bit_length()


@lru_cache
def _hertz_to_the_8th(transform: int, rate: int, device: torch.device) -> Tensor:
    """Of the frequencies of a transform."""
    hertz: Tensor = torch.fft.rfftfreq(transform, 1 / rate, device=device)
    return hertz ** 8
