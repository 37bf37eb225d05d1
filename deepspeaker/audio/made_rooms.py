"""Impulse responses of rooms made of random numbers, to reverberate speech where there are no recorded ones.

Polack's statistical model (1988): behind the direct sound and some early reflections a room answers with noise that
decays exponentially, by 60 dB in the reverberation time T60, and sooner at high frequencies, which air and walls
absorb more.
"""

import math

import numpy as np

DECAY = (0.15, 1.0)  # seconds, T60 of a room at low frequencies
EDGES = (0, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz, where the bands begin that decay each in its own time
HIGH = {2000: 0.8, 4000: 0.6}  # Hz from where on -> T60 of a band, times the room's
SPREAD = 0.15  # standard deviation of the logarithm of a band's T60
LONGEST = 0.8  # seconds; a longer response is cut here, where with a T60 of 1 s it has fallen by 48 dB
TAIL_FROM = (0.002, 0.015)  # seconds after the direct sound at which the tail sets in
RATIO = (-6, 12)  # dB, energy of the direct sound to that of the tail
REFLECTIONS = (3, 8)  # how many there are
REFLECTED = (0.1, 0.6)  # their amplitude of either sign at the direct sound's time
WEAKER = 30  # amplitude of a reflection after t seconds: divided by 1 + WEAKER * t
DELAYS = (0.001, 0.04)  # seconds, uniformly in their logarithm
MOST = 0.9  # amplitude of the loudest sample behind the direct sound, which must stay the largest


def make_room(rng: np.random.Generator, rate: int) -> np.ndarray:
    """The impulse response (S,) float32 of a random room at `rate` Hz, 0.15 to 0.8 s long.

    Sample 0 is the direct sound, 1, and by far the largest. Everything is drawn from `rng`, uniformly within the ranges
    above. Where a sample of the rest would be above MOST, all the rest is made weaker, so that the ratio of the direct
    sound to the tail is a little above that drawn.
    """
    decay = rng.uniform(*DECAY)
    starts = np.array([edge for edge in EDGES if edge < rate / 2])
    factors = np.select([starts >= edge for edge in sorted(HIGH, reverse=True)],
                        [HIGH[edge] for edge in sorted(HIGH, reverse=True)], 1.0)
    size = round(min(decay, LONGEST) * rate)
    response = diffuse_tail(rng, size, rate, decay * factors * np.exp(rng.normal(0, SPREAD, len(starts))))
    response[:round(rng.uniform(*TAIL_FROM) * rate)] = 0
    response *= 10 ** (-rng.uniform(*RATIO) / 20) / math.sqrt(np.sum(response ** 2))
    count = rng.integers(*REFLECTIONS, endpoint=True)
    delays = np.exp(rng.uniform(math.log(DELAYS[0]), math.log(DELAYS[1]), count))
    amplitudes = rng.choice([-1, 1], count) * rng.uniform(*REFLECTED, count) / (1 + WEAKER * delays)
    np.add.at(response, np.rint(delays * rate).astype(int), amplitudes)
    response *= min(1, MOST / np.abs(response).max())
    response[0] = 1
    return response.astype(np.float32)


def diffuse_tail(rng: np.random.Generator, size: int, rate: int, decays: np.ndarray) -> np.ndarray:
    """(size,) white noise whose bands begin at EDGES (those below rate / 2) and decay by 60 dB in `decays` seconds."""
    points = 1 << (size - 1).bit_length()
    frequency = np.fft.rfftfreq(points, 1 / rate)
    band = np.searchsorted(EDGES[:len(decays)], frequency, "right") - 1
    spectrum = np.fft.rfft(rng.standard_normal(points))
    noise = np.fft.irfft(spectrum * (band == np.arange(len(decays))[:, None]), points)[:, :size]
    envelope = np.exp(-math.log(1000) * np.arange(size) / (rate * decays[:, None]))
    tail: np.ndarray = np.sum(noise * envelope, axis=0)
    return tail
