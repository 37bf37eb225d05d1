"""How far a recording can be trusted: how much speech it has, how loud, how clipped, and whether it is speech at all.

Speech has a pitch, and the pitch glides: noise has none, and instruments hold theirs from note to note. Pitch is the
highest peak of the autocorrelation, divided by that of the window (Boersma, Proceedings of the Institute of Phonetic
Sciences 17, 1993).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from deepspeaker.audio.frames import FRAME_SHIFT
from deepspeaker.errors import UserError
from deepspeaker.extraction.fbank import FULL_SCALE, frame_sizes, voiced_frames

LEAST_SPEECH, LITTLE_SPEECH = 0.5, 2.0  # seconds: less is refused; less is warned of
CLIPPED, MOST_CLIPPED = 0.999, 0.001  # of full scale, from which a sample is clipped; share of them not warned of
QUIET = -45.0  # dB below full scale
PITCH_WINDOW = 0.040  # seconds
LOWEST_PITCH, HIGHEST_PITCH = 80.0, 400.0  # Hz
PERIODIC = 0.7  # autocorrelation, of 1 at most, from which a frame has a pitch
LEAST_GLIDE, MOST_GLIDE = 0.003, 0.15  # octaves from one frame to the next: less is held, more is a jump
PITCHED_SHARE, GLIDING_SHARE = 0.15, 0.2  # of voiced frames with a pitch, and of neighbours that glide: at least
BLOCK, ENOUGH = 100, 3000  # voiced frames that are judged at once: of voices the first ones do; of all frames looked at


class Trust(NamedTuple):
    """What a recording is worth to a decision."""

    seconds: float  # of the recording
    speech: float  # seconds of it that the energy VAD finds voiced
    level: float  # dB below full scale, of the voiced frames' root mean square
    clipped: float  # share of samples, 0..1

    @property
    def warnings(self) -> list[str]:
        found = []
        if self.speech < LITTLE_SPEECH:
            found.append(f"only {self.speech:.1f} s of speech: from {LITTLE_SPEECH:g} s on decisions are better")
        if self.clipped > MOST_CLIPPED:
            found.append(f"{100 * self.clipped:.1f} % of the samples are clipped: record at a lower level")
        if self.level < QUIET:
            found.append(f"quiet: {self.level:.0f} dB below full scale")
        return found


def judge(samples: Tensor, rate: int, log_energy: Tensor) -> Trust:
    """Samples (S,) within -1..1 and log energies (T,) as compute_fbank gives them -> what they are worth.

    Raises UserError for what is no speech, and for less than LEAST_SPEECH seconds of it.
    """
    seconds, voiced = len(samples) / rate, voiced_frames(log_energy)
    speech = net_speech(samples, rate, voiced)
    check_voice(samples, rate, voiced)
    power = log_energy[voiced].double().exp().mean() / frame_sizes(rate)[0]
    return Trust(round(seconds, 3), round(speech, 2), round(10 * math.log10(power / FULL_SCALE**2), 1),
                 float((samples.abs() >= CLIPPED).float().mean()))


def net_speech(samples: Tensor, rate: int, voiced: Tensor) -> float:
    """Seconds of the voiced frames (T,). UserError for silence and for less than LEAST_SPEECH."""
    seconds, speech = len(samples) / rate, float(voiced.sum()) * FRAME_SHIFT
    if speech == 0 or not samples.any():
        raise UserError(f"no speech found in {seconds:.1f} s: silence")
    if speech < LEAST_SPEECH:
        raise UserError(f"{speech:.1f} s of speech found in {seconds:.1f} s; at least {LEAST_SPEECH:g} s are needed")
    return speech


def check_voice(samples: Tensor, rate: int, voiced: Tensor) -> None:
    """UserError unless the pitch of samples (S,) goes up and down as a voice's in some BLOCK of voiced frames (T,)."""
    which = voiced.nonzero().squeeze(1)[:ENOUGH]
    if not any(glides(samples, rate, block) for block in which.tensor_split(max(1, len(which) // BLOCK))):
        raise UserError(f"no speech found in {len(samples) / rate:.1f} s: nothing in it has the gliding pitch of a "
                        f"voice, as noise and music have not")


def glides(samples: Tensor, rate: int, which: Tensor) -> bool:
    """Whether the frames `which` (n,) of samples (S,) have a pitch, and this goes up and down as a voice does."""
    strength, lag = pitch(samples, rate, which)
    pitched = strength > PERIODIC
    pairs = pitched[1:] & pitched[:-1] & (which.diff() == 1)
    if pitched.float().mean() < PITCHED_SHARE or not pairs.any():
        return False
    moved = lag.log2().diff().abs()[pairs]
    return float(((moved > LEAST_GLIDE) & (moved < MOST_GLIDE)).float().mean()) >= GLIDING_SHARE


def pitch(samples: Tensor, rate: int, which: Tensor) -> tuple[Tensor, Tensor]:
    """Of the frames `which` (n,) the height (n,) and the lag (n,) in samples of their autocorrelation's highest peak
    between LOWEST_PITCH and HIGHEST_PITCH."""
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
    return torch.fft.irfft(torch.view_as_real(torch.fft.rfft(x, size)).square().sum(-1))
