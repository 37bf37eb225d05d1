"""Speech-like sound from a source and a filter: the speaker, the channel and the utterance.

A speaker is a pitch, a vocal tract and habits of voice; a recording is a channel with its noise and the
speaker's mood of the day; an utterance is random syllables. All draws come from the generators handed in, so the
same generators give the same samples.
"""

from dataclasses import dataclass

import numpy as np

from deepspeaker.audio import SAMPLE_RATE

HOP = 128  # samples between filter updates: 8 ms
FFT = 4 * HOP  # a frame of two hops, and as much room for the filter's decay
FREQUENCIES = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
OCTAVES = np.log2(np.maximum(FREQUENCIES, 100.0) / 100.0)  # above 100 Hz
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
SECONDS = (3.0, 6.0)  # of an utterance
LONG_FFT = 2 ** 17  # room for an utterance and its echo

# F1, F2, F3 in Hz of ten English vowels, men's averages (Peterson and Barney 1952, table II).
VOWELS = np.array([[270, 2290, 3010], [390, 1990, 2550], [530, 1840, 2480], [660, 1720, 2410],
                   [730, 1090, 2440], [570, 840, 2410], [440, 1020, 2240], [300, 870, 2240],
                   [640, 1190, 2390], [490, 1350, 1690]])
HIGHER = np.array([3500, 4500, 5500])  # F4 to F6 of a tube of 17.5 cm, closed at one end
BANDWIDTHS = np.array([60, 90, 120, 180, 240, 300])  # Hz
SONORANTS = np.array([[280, 1000, 2200], [280, 1700, 2600], [360, 1300, 2700], [420, 1200, 1600],
                      [290, 610, 2150], [260, 2070, 3020]])  # m n l r w y
HISSES = np.array([[6500, 1200], [3800, 1100], [5000, 3500], [3000, 4000]])  # s sh f h: centre and width, Hz
BURSTS = np.array([[900, 600], [4500, 1500], [2200, 700]])  # p t k


Segment = tuple[int, np.ndarray, float, float, np.ndarray]  # frames, formants (6,) Hz, voice, friction, hiss (2,) Hz


@dataclass(frozen=True)
class Speaker:
    """Properties of a person, the same in all recordings."""

    gender: str
    pitch: float  # Hz, median
    pitch_range: float  # standard deviation of log pitch within an utterance
    vowels: np.ndarray  # (10, 6) Hz
    sonorants: np.ndarray  # (6, 6) Hz
    bandwidths: np.ndarray  # (6,) Hz
    hiss: float  # factor on the frequencies of fricatives and bursts
    tilt: float  # dB an octave
    breath: float  # noise beside the pulses, as a fraction
    pace: float  # seconds of a vowel


@dataclass(frozen=True)
class Recording:
    """Properties of one recording, the same in all its utterances."""

    pitch: float  # factor
    tilt: float  # dB an octave, added
    gain: np.ndarray  # (FFT // 2 + 1,) response of the channel
    noise: np.ndarray  # (FFT // 2 + 1,) spectrum of the background
    snr: float  # dB
    level: float  # root mean square, of full scale
    echo: np.ndarray  # (LONG_FFT // 2 + 1,) response of the room


def draw_speaker(rng: np.random.Generator) -> Speaker:
    gender = "mf"[rng.integers(2)]
    pitch, tract = {"m": (115.0, 1.0), "f": (195.0, 1.13)}[gender]
    tract *= np.exp(rng.normal(0, 0.07))
    build = tract * np.exp(rng.normal(0, 0.07, 6))  # formant by formant
    accent = np.exp(rng.normal(0, 0.03, (len(VOWELS) + len(SONORANTS), 3)))
    formants = np.column_stack([np.vstack([VOWELS, SONORANTS]) * accent,
                                np.tile(HIGHER, (len(accent), 1))]) * build
    return Speaker(gender, pitch=pitch * np.exp(rng.normal(0, 0.18)), pitch_range=rng.uniform(0.05, 0.15),
                   vowels=formants[:len(VOWELS)], sonorants=formants[len(VOWELS):],
                   bandwidths=BANDWIDTHS * np.exp(rng.normal(0, 0.2, 6)), hiss=tract * np.exp(rng.normal(0, 0.07)),
                   tilt=rng.uniform(4, 11), breath=10 ** rng.uniform(-1.6, -0.5), pace=rng.uniform(0.08, 0.16))


def draw_recording(rng: np.random.Generator) -> Recording:
    position = np.log1p(FREQUENCIES / 700) / np.log1p(SAMPLE_RATE / 2 / 700)  # on the mel scale, 0 to 1
    curve = sum(rng.normal(0, 1.2) * np.cos(np.pi * order * position) for order in range(1, 6))  # dB
    low, high = rng.uniform(40, 200), rng.uniform(5000, 9000)
    edges = 1 / (1 + (low / np.maximum(FREQUENCIES, 1)) ** 4) / (1 + (FREQUENCIES / high) ** 8)
    decay = rng.uniform(0.05, 0.3)  # seconds to -60 dB
    times = np.arange(int(decay * SAMPLE_RATE)) / SAMPLE_RATE
    echo = rng.normal(0, 0.02 * rng.uniform(0.2, 1), len(times)) * 10 ** (-3 * times / decay)
    echo[0] = 1
    return Recording(pitch=np.exp(rng.normal(0, 0.05)), tilt=rng.normal(0, 1.0), gain=10 ** (curve / 20) * edges,
                     noise=10 ** (-rng.uniform(0, 6) * OCTAVES / 20), snr=rng.uniform(15, 30),
                     level=10 ** rng.uniform(-1.6, -0.9), echo=np.fft.rfft(echo, LONG_FFT))


def draw_utterance(rng: np.random.Generator, speaker: Speaker, recording: Recording) -> np.ndarray:
    """One utterance's samples, int16, at SAMPLE_RATE."""
    frames = int(rng.uniform(*SECONDS) * FRAMES_PER_SECOND)
    formants, voice, friction, hiss = syllables(rng, speaker, frames)
    noise = spectra(white(rng, frames))
    sound = spectra(pulse_train(rng, pitch_track(rng, speaker, recording, frames))) + speaker.breath * noise
    sound *= tract_response(formants, speaker.bandwidths)
    sound *= 10 ** (-(speaker.tilt + recording.tilt) * OCTAVES / 20) * voice[:, None]
    centre, width = hiss.T[:, :, None]
    sound += friction[:, None] * np.exp(-0.5 * ((FREQUENCIES - centre) / width) ** 2) * noise
    return through_channel(rng, overlap_add(sound * recording.gain), recording, frames)


def through_channel(rng: np.random.Generator, speech: np.ndarray, recording: Recording,
                    frames: int) -> np.ndarray:
    """Echo, background noise and level: int16 samples."""
    speech = np.fft.irfft(np.fft.rfft(speech, LONG_FFT) * recording.echo)[:frames * HOP]
    background = overlap_add(spectra(white(rng, frames)) * (recording.noise * recording.gain))[:frames * HOP]
    mixed = speech + background * (rms(speech) / rms(background) * 10 ** (-recording.snr / 20))
    scaled = mixed * (recording.level / rms(mixed) * 32768)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def white(rng: np.random.Generator, frames: int) -> np.ndarray:
    return rng.standard_normal((frames + 1) * HOP, np.float32)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples ** 2)))


def syllables(rng: np.random.Generator, speaker: Speaker, frames: int) -> tuple[np.ndarray, ...]:
    """Movements of the mouth, frame by frame: formants (T, 6) Hz, voice (T,), friction (T,), hiss (T, 2) Hz."""
    parts = [segment(0.2, speaker.vowels[0])]
    while sum(length for length, *_ in parts) < frames:
        vowel = speaker.vowels[rng.integers(len(VOWELS))]
        parts += onset(rng, speaker, vowel)
        parts.append(segment(speaker.pace * rng.uniform(0.6, 1.6), vowel, voice=rng.uniform(0.7, 1.2)))
        if rng.random() < 0.25:  # a diphthong
            parts.append(segment(speaker.pace * 0.6, speaker.vowels[rng.integers(len(VOWELS))], voice=0.8))
        if rng.random() < 0.08:
            parts.append(segment(rng.uniform(0.1, 0.4), vowel))
    lengths, *tracks = zip(*parts, strict=True)
    formants, voice, friction, hiss = (np.repeat(values, lengths, axis=0)[:frames] for values in tracks)
    return smooth(formants, 7), smooth(voice, 3), smooth(friction, 2), hiss


def segment(seconds: float, formants: np.ndarray, voice: float = 0.0, friction: float = 0.0,
            hiss: np.ndarray = HISSES[0]) -> Segment:
    return max(1, round(seconds * FRAMES_PER_SECOND)), formants, voice, friction, hiss


def onset(rng: np.random.Generator, speaker: Speaker, vowel: np.ndarray) -> list[Segment]:
    """The consonant before a vowel, if any; half of the hisses and stops are voiced."""
    kind = rng.choice(["none", "sonorant", "hiss", "stop"])
    voiced = rng.uniform(0.15, 0.4) * rng.integers(2)
    if kind == "sonorant":
        return [segment(rng.uniform(0.04, 0.1), speaker.sonorants[rng.integers(len(SONORANTS))], voice=0.5)]
    if kind == "hiss":
        which = rng.integers(len(HISSES))
        friction = rng.uniform(0.15, 0.4) * (1.0 if which < 2 else 0.3)
        return [segment(rng.uniform(0.06, 0.14), vowel, voiced, friction, HISSES[which] * speaker.hiss)]
    if kind == "stop":
        burst = BURSTS[rng.integers(len(BURSTS))] * speaker.hiss
        return [segment(rng.uniform(0.03, 0.08), vowel, 0.3 * voiced),
                segment(rng.uniform(0.01, 0.03), vowel, voiced, rng.uniform(0.2, 0.6), burst)]
    return []


def smooth(track: np.ndarray, width: int) -> np.ndarray:
    """Moving average over `width` frames of (T, ...), the ends held."""
    padded = np.concatenate([track[:1].repeat(width // 2, axis=0), track,
                             track[-1:].repeat(width - 1 - width // 2, axis=0)])
    smoothed: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0).mean(axis=-1)
    return smoothed


def pitch_track(rng: np.random.Generator, speaker: Speaker, recording: Recording, frames: int) -> np.ndarray:
    """(T,) pitch in Hz by frame: it wanders every 0.2 s, falls over the utterance and jitters."""
    knots = rng.normal(0, speaker.pitch_range, 2 + int(frames / FRAMES_PER_SECOND / 0.2))
    wander = np.interp(np.linspace(0, len(knots) - 1, frames), np.arange(len(knots)), knots)
    fall = np.linspace(0.1, -0.1, frames)
    return speaker.pitch * recording.pitch * np.exp(wander + fall + rng.normal(0, 0.01, frames))


def pulse_train(rng: np.random.Generator, pitch: np.ndarray) -> np.ndarray:
    """((T + 1) * HOP,) samples of unit power: a pulse a period, its place between two samples shared by both."""
    size = (len(pitch) + 1) * HOP
    pitch = np.interp(np.arange(size) / HOP, np.arange(len(pitch)) + 1.0, pitch)
    phase = np.cumsum(pitch / SAMPLE_RATE)
    at = np.flatnonzero(np.diff(np.floor(phase)))
    late = (phase[at + 1] % 1) / (pitch[at + 1] / SAMPLE_RATE)  # samples since the pulse, at sample at + 1
    height = np.sqrt(SAMPLE_RATE / pitch[at]) * np.exp(rng.normal(0, 0.05, len(at)))
    pulses = np.zeros(size, np.float32)
    pulses[at] += height * late
    pulses[at + 1] += height * (1 - late)
    return pulses


def tract_response(formants: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """(T, FFT // 2 + 1) response of resonators in cascade, each of gain 1 at 0 Hz (Klatt 1980, eq. 1 and 2)."""
    step = np.exp(-2j * np.pi * FREQUENCIES / SAMPLE_RATE).astype(np.complex64)
    response = np.ones((len(formants), len(step)), np.complex64)
    for formant, bandwidth in zip(formants.T, bandwidths, strict=True):
        c = np.float32(-np.exp(-2 * np.pi * bandwidth / SAMPLE_RATE))
        turn = np.cos(2 * np.pi * formant / SAMPLE_RATE)[:, None].astype(np.float32)
        b = 2 * np.sqrt(-c) * turn
        response *= (1 - b - c) / (1 - b * step - c * step ** 2)
    return response


def spectra(samples: np.ndarray) -> np.ndarray:
    """((T + 1) * HOP,) samples -> (T, FFT // 2 + 1), of Hann windows of two hops, which add up to one."""
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * HOP, dtype=np.float32) / HOP)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 2 * HOP)[::HOP]
    return np.fft.rfft(frames * window, FFT)


def overlap_add(spectrum: np.ndarray) -> np.ndarray:
    """Samples whose frames these are: the inverse of `spectra` up to its two ends."""
    frames = np.fft.irfft(spectrum, FFT).reshape(len(spectrum), FFT // HOP, HOP)
    samples = np.zeros((len(frames) + FFT // HOP - 1, HOP), np.float32)
    for part in range(FFT // HOP):
        samples[part:part + len(frames)] += frames[:, part]
    return samples.ravel()
