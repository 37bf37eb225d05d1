"""How far a recording can be trusted: how much speech it has, how loud and how clipped it is, and whether it is speech.

The pitch of speech glides; noise has no pitch, and instruments hold theirs during a note. The period of the pitch is
the lag of the highest peak of a frame's autocorrelation, divided by that of the window (Boersma, Proceedings of the
Institute of Phonetic Sciences 17, 1993).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from deepspeaker.audio.frames import FRAME_SHIFT, frame_sizes
from deepspeaker.errors import UserError
from deepspeaker.extraction.fbank import FULL_SCALE, voiced_frames

LEAST_SPEECH, LITTLE_SPEECH = 0.5, 2.0  # seconds: below the first an error, below the second a warning
CLIPPED = 0.999  # of full scale: samples from here on count as clipped
MOST_CLIPPED = 0.001  # share of the samples; above it a warning
QUIET = -45.0  # dB relative to full scale; below it a warning
NOISY = 13.0  # dB of signal-to-noise ratio; below it a warning: 1 % of clean speech, 3 in 10 of noisy (0 to 20 dB)
NARROW = 4300.0  # Hz; below it a warning: all telephone speech, none that other microphones recorded
PITCH_WINDOW = 0.040  # seconds
LOWEST_PITCH, HIGHEST_PITCH = 80.0, 400.0  # Hz
PERIODIC = 0.7  # normalised autocorrelation, at most 1: above it a frame has a pitch
LEAST_GLIDE, MOST_GLIDE = 0.003, 0.15  # octaves between neighbouring frames: less is a held note, more is a jump
PITCHED_SHARE = 0.15  # least share of a voice's frames that have a pitch
GLIDING_SHARE = 0.2  # least share of a voice's pairs of neighbouring frames, both with a pitch, that glide
FRAMES_TOGETHER, MOST_FRAMES = 100, 3000  # voiced frames judged together, until a voice is found; frames judged in all


class Trust(NamedTuple):
    """How far decisions on a recording can be trusted."""

    seconds: float  # length of the recording
    speech: float  # seconds that the energy VAD finds voiced
    level: float  # root mean square of the voiced frames, in dB relative to full scale
    clipped: float  # share of clipped samples, 0..1
    rate: int = 0  # Hz, sampling rate of what was given
    upsampled: bool = False  # it is lower than the model's
    mixed: int = 0  # channels that are not alike and were mixed; 0: none were
    snr: float | None = None  # level of the voiced frames over that of the quietest, dB
    bandwidth: float | None = None  # Hz, up to which there is speech; None: the model hears no more than a telephone

    @property
    def warnings(self) -> list[str]:
        found = []
        if self.speech < LITTLE_SPEECH:
            found.append(f"only {self.speech:.1f} s of speech: decisions are better with {LITTLE_SPEECH:g} s or more")
        if self.clipped > MOST_CLIPPED:
            found.append(f"{100 * self.clipped:.1f} % of the samples are clipped: record at a lower level")
        if self.level < QUIET:
            found.append(f"quiet: {self.level:.0f} dB relative to full scale: record at a higher level")
        if self.upsampled:
            found.append(f"a sampling rate of {self.rate} Hz, lower than the model's: nothing lies above "
                         f"{self.rate // 2} Hz, and decisions are less reliable")
        elif self.bandwidth is not None and self.bandwidth < NARROW:
            found.append(f"nothing above {self.bandwidth:.0f} Hz, as on a telephone: decisions are less reliable")
        if self.snr is not None and self.snr < NOISY:
            found.append(f"noisy: speech only {self.snr:.0f} dB above the noise: record where it is quieter")
        if self.mixed:
            found.append(f"{self.mixed} different channels were mixed: if each is another speaker, choose a channel")
        return found


def judge(samples: Tensor, rate: int, log_energy: Tensor) -> Trust:
    """Samples (S,) within -1..1 and log energies (T,) as compute_fbank returns them -> their Trust.

    UserError if no voice is found, or less than LEAST_SPEECH seconds of speech.
    """
    seconds, voiced = len(samples) / rate, voiced_frames(log_energy)
    speech = net_speech(samples, rate, voiced)
    check_voice(samples, rate, voiced)
    power = log_energy[voiced].double().exp().mean() / frame_sizes(rate)[0]
    return Trust(round(seconds, 3), round(speech, 2), round(10 * math.log10(power / FULL_SCALE**2), 1),
                 float((samples.abs() >= CLIPPED).float().mean()))


def net_speech(samples: Tensor, rate: int, voiced: Tensor) -> float:
    """Seconds of speech: `voiced` (T,) says which frames are. UserError for less than LEAST_SPEECH."""
    seconds, speech = len(samples) / rate, float(voiced.sum()) * FRAME_SHIFT
    if speech == 0 or not samples.any():
        raise UserError(f"no speech found in {seconds:.1f} s: silence")
    if speech < LEAST_SPEECH:
        raise UserError(f"{speech:.1f} s of speech found in {seconds:.1f} s; at least {LEAST_SPEECH:g} s are needed")
    return speech


def check_voice(samples: Tensor, rate: int, voiced: Tensor) -> None:
    """UserError unless the pitch of samples (S,) glides like a voice's in some group of voiced frames.

    voiced (T,): bool, which frames are voiced.
    """
    which = voiced.nonzero().squeeze(1)[:MOST_FRAMES]
    if not any(glides(samples, rate, group) for group in which.tensor_split(max(1, len(which) // FRAMES_TOGETHER))):
        raise UserError(f"no speech found in {len(samples) / rate:.1f} s: no voice detected, it may be noise or music")


def glides(samples: Tensor, rate: int, which: Tensor) -> bool:
    """Whether the frames of samples (S,) numbered `which` (n,) have a pitch, and it glides like a voice's."""
    strength, lag = pitch(samples, rate, which)
    pitched = strength > PERIODIC
    pairs = pitched[1:] & pitched[:-1] & (which.diff() == 1)
    if pitched.float().mean() < PITCHED_SHARE or not pairs.any():
        return False
    moved = lag.log2().diff().abs()[pairs]
    return float(((moved > LEAST_GLIDE) & (moved < MOST_GLIDE)).float().mean()) >= GLIDING_SHARE


def pitch(samples: Tensor, rate: int, which: Tensor) -> tuple[Tensor, Tensor]:
    """Height (n,) and lag (n,), in samples, of the autocorrelation's highest peak between LOWEST_PITCH and
    HIGHEST_PITCH, in the frames of samples (S,) numbered `which` (n,)."""
    length, shift = round(PITCH_WINDOW * rate), frame_sizes(rate)[1]
    first, last = int(which[0]), int(which[-1])
    piece = samples[first * shift:last * shift + length]
    piece = torch.nn.functional.pad(piece, (0, (last - first) * shift + length - len(piece)))
    frames = piece.unfold(0, length, shift)[which - first]
    window = torch.hann_window(length)
    shortest, longest = math.floor(rate / HIGHEST_PITCH), math.ceil(rate / LOWEST_PITCH)
    size = 1 << (length + longest - 1).bit_length()
    of_frames = _autocorrelation((frames - frames.mean(1, keepdim=True)) * window, size)[:, :longest]
    of_window = _autocorrelation(window, size)[:longest]
    normalised = of_frames / of_frames[:, :1].clamp_min(1e-9) / (of_window / of_window[0])
    strength, lag = normalised[:, shortest:].max(1)
    return strength, (lag + shortest).float()


def _autocorrelation(x: Tensor, size: int) -> Tensor:
    """Of each row of x (..., n), padded with zeros to `size`: (..., size)."""
    correlation: Tensor = torch.fft.irfft(torch.view_as_real(torch.fft.rfft(x, size)).square().sum(-1))
    return correlation
