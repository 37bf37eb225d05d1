"""Noises made of random numbers, to be added to speech where there are no recorded ones.

None is the sound of a thing. What counts is that no two are alike: their colour and whether they are steady, crackle,
tick, beat, come in events, hum, wail or cry are all drawn.
"""

import math

import numpy as np

LOWEST = 20  # Hz; below it there is no power, which would count in the level of the noise and which features do not see
TILT = (-0.5, 1.0)  # amplitude ~ frequency ** -tilt: 0 is white, 0.5 pink, 1 brown noise
RESONANCES = 4  # at most; each a bump on the logarithmic frequency axis
CENTRES = (80, 7000)  # Hz, of resonances
WIDTHS = (0.03, 0.6)  # their standard deviations, in natural logarithms of frequency
HEIGHTS = (1, 12)  # of their amplitudes, times the one around them
LOW_PASS, LOW_PASS_CORNERS = 0.25, (300, 7000)  # share of noises; Hz, from where on they fall by 24 dB an octave
HIGH_PASS, HIGH_PASS_CORNERS = 0.2, (60, 2500)
EVENTS, EVENT_RATE, EVENT_LEVELS = 0.6, 8, (-30, 10)  # share; levels a second at most; dB
STRIKES = 0.3  # share that sets in at once, again and again, and dies away each time: crackling, a clock, drums
STRIKE_RATE, EVEN = (1.5, 300), 0.3  # strikes a second; share of these noises that strike at equal distances
STRIKE_LEVELS = (0, 30)  # dB, how far the weakest strike of a noise lies below the strongest
STRIKE_DECAY = (0.0003, 0.05)  # seconds after which the amplitude of a strike has fallen to 1/e
BETWEEN_STRIKES = (-30, 0)  # dB, level of the steady noise between them, to theirs
TONES = 0.35  # share with a hum, a siren or a cry
PITCH = (50, 2500)  # Hz
HARMONICS = 11  # at most
ROLL_OFF = (0, 1.5)  # amplitude of harmonic k ~ k ** -roll-off, drawn for each
GLIDE, GLIDE_RATE = 0.3, (0.2, 6)  # the largest change of pitch, as a share; Hz, how often it goes up and down
TONE_RATE = 3  # times a second that the level of a tone changes
TONE_LEVELS = (0.3, 3)  # amplitude of the tone, times the noise's
BELOW_NYQUIST = 0.9  # no centre or corner lies above this share of half the rate


def make_noise(rng: np.random.Generator, size: int, rate: int) -> np.ndarray:
    """Samples (size,) float32 of a random noise at `rate` Hz (4,000 or more). The largest absolute value is 1.

    Everything is drawn from `rng`, uniformly within the ranges above, frequencies uniformly in their logarithm.
    """
    noise = _coloured(rng, size, rate)
    if rng.random() < STRIKES:
        strikes = _strikes(rng, size, rate)
        noise *= strikes / _rms(strikes) + 10 ** (rng.uniform(*BETWEEN_STRIKES) / 20)
    if rng.random() < EVENTS:
        levels = rng.uniform(*EVENT_LEVELS, rng.integers(3, 4 + EVENT_RATE * size // rate))
        noise *= _between(10 ** (levels / 20), size)
    if rng.random() < TONES:
        tone = _tone(rng, size, rate)
        noise = noise / _rms(noise) + rng.uniform(*TONE_LEVELS) * tone / max(_rms(tone), 1e-9)
    noise /= np.abs(noise).max()
    return noise.astype(np.float32)


def _coloured(rng: np.random.Generator, size: int, rate: int) -> np.ndarray:
    """(size,) steady noise: a drawn amplitude spectrum with random phases."""
    points = 1 << (max(size, rate) - 1).bit_length()  # a second at least, for which LOWEST is well within reach
    frequency = np.fft.rfftfreq(points, 1 / rate).astype(np.float32)
    first = math.ceil(LOWEST * points / rate)
    frequency, spectrum = frequency[first:], np.zeros(len(frequency), np.complex64)
    amplitude = (frequency / 1000) ** -rng.uniform(*TILT)
    for _ in range(rng.integers(0, RESONANCES + 1)):
        distance = np.log(frequency / _draw_frequency(rng, CENTRES, rate)) / rng.uniform(*WIDTHS)
        amplitude *= 1 + rng.uniform(*HEIGHTS) * np.exp(-0.5 * distance ** 2)
    if rng.random() < LOW_PASS:
        amplitude /= 1 + (frequency / _draw_frequency(rng, LOW_PASS_CORNERS, rate)) ** 4
    if rng.random() < HIGH_PASS:
        amplitude /= 1 + (_draw_frequency(rng, HIGH_PASS_CORNERS, rate) / frequency) ** 4
    spectrum[first:] = amplitude * np.exp(2j * np.pi * rng.random(len(frequency), np.float32))
    noise: np.ndarray = np.fft.irfft(spectrum, points)[:size]
    return noise


def _strikes(rng: np.random.Generator, size: int, rate: int) -> np.ndarray:
    """(size,) amplitudes that jump up at drawn times, or at equal distances, and die away exponentially."""
    distance = rate / math.exp(rng.uniform(*np.log(STRIKE_RATE)))
    if rng.random() < EVEN:
        at = np.arange(rng.uniform(0, min(distance, size)), size, distance).astype(int)
    else:
        at = rng.integers(0, size, math.ceil(size / distance))
    amplitudes = np.zeros(size)
    np.maximum.at(amplitudes, at, 10 ** (-rng.uniform(0, rng.uniform(*STRIKE_LEVELS), len(at)) / 20))
    decay = np.exp(-np.arange(size) / (rate * math.exp(rng.uniform(*np.log(STRIKE_DECAY)))))
    points = 1 << (2 * size - 1).bit_length()
    dying: np.ndarray = np.fft.irfft(np.fft.rfft(amplitudes, points) * np.fft.rfft(decay, points), points)[:size]
    return dying


def _tone(rng: np.random.Generator, size: int, rate: int) -> np.ndarray:
    """(size,) a tone of gliding pitch with harmonics, all below rate / 2, that comes and goes."""
    time = np.arange(size) / rate
    pitch = _draw_frequency(rng, PITCH, rate / (1 + GLIDE))
    glide = np.sin(2 * np.pi * rng.uniform(*GLIDE_RATE) * time + rng.uniform(0, 2 * np.pi))
    turn = np.exp(2j * np.pi * np.cumsum(pitch * (1 + rng.uniform(0, GLIDE) * glide)) / rate)
    number = np.arange(1, rng.integers(2, HARMONICS + 2))
    number = number[number * pitch * (1 + GLIDE) < rate / 2]
    harmonics = number ** -rng.uniform(*ROLL_OFF, len(number)) * np.exp(2j * np.pi * rng.random(len(number)))
    levels = np.maximum(rng.uniform(-0.5, 1, 3 + TONE_RATE * size // rate), 0)  # silent a third of the time
    tone: np.ndarray = np.polyval([*harmonics[::-1], 0], turn).imag * _between(levels, size)
    return tone


def _draw_frequency(rng: np.random.Generator, between: tuple[float, float], rate: float) -> float:
    low, high = between
    return math.exp(rng.uniform(math.log(low), math.log(min(high, BELOW_NYQUIST * rate / 2))))


def _between(levels: np.ndarray, size: int) -> np.ndarray:
    """(size,) values that go from level to level in straight lines of equal length."""
    values: np.ndarray = np.interp(np.linspace(0, len(levels) - 1, size), np.arange(len(levels)), levels)
    return values


def _rms(samples: np.ndarray) -> float:
    return math.sqrt(np.mean(np.square(samples), dtype=np.float64))
