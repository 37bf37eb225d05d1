"""Samples (S,) -> log mel filterbank energies (T, F), as Kaldi computes them; energy VAD; normalisation.

Shapes everywhere: B batch, T frames, F mel bins, S samples. Sources: Kaldi's feature-window.cc, mel-computations.cc
and voice-activity-detection.cc for the formulas; no dither, so that the same audio always gives the same numbers.
window: "povey" or "hamming". mel_floor: energies of mel bins, of 16-bit samples, count as at least this.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from deepspeaker.audio.frames import FLOOR, POVEY, fft_size, frame_sizes

PREEMPHASIS = 0.97
FULL_SCALE = 32768.0  # Kaldi's samples are 16-bit integers, ours lie within -1..1
VAD_THRESHOLD, VAD_MEAN_SCALE = 5.5, 0.5  # energy threshold = 5.5 + 0.5 * mean log energy
VAD_CONTEXT = 2  # voiced: 12 % of the frames t-2..t+2 above the threshold, which is any one of them
FRAMES_AT_ONCE = {"cpu": 512, "cuda": 1 << 14}  # bounds memory; on a CPU the block stays in the processor's cache


def num_frames(num_samples: int, sample_rate: int, snip_edges: bool) -> int:
    """How many frames `num_samples` give: only whole frames (snip_edges), or one for every shift, rounded."""
    length, shift = frame_sizes(sample_rate)
    if snip_edges:
        return 0 if num_samples < length else 1 + (num_samples - length) // shift
    return (num_samples + shift // 2) // shift


def compute_fbank(samples: Tensor, sample_rate: int, num_mel_bins: int, low_freq: float, high_freq: float,
                  snip_edges: bool, window: str = POVEY, mel_floor: float = FLOOR) -> tuple[Tensor, Tensor]:
    """Log mel filterbank energies and log frame energies.

    samples: (S,) or (B, S) float32 within -1..1; low_freq, high_freq in Hz, high_freq 0 means half the rate.
    Returns fbank (T, F) or (B, T, F), natural logarithms, and log energy (T,) or (B, T): of the frame's samples after
    removing their mean, before preemphasis and window. T is num_frames(S, ...) and may be 0.
    """
    length, shift = frame_sizes(sample_rate)
    frames = _frames(samples, length, shift, sample_rate, snip_edges)
    return fbank_of_frames(frames, sample_rate, num_mel_bins, low_freq, high_freq, window, mel_floor)


def fbank_of_frames(frames: Tensor, sample_rate: int, num_mel_bins: int, low_freq: float, high_freq: float,
                    window: str = POVEY, mel_floor: float = FLOOR) -> tuple[Tensor, Tensor]:
    """As compute_fbank, of frames of samples (T, length) or (B, T, length), which may overlap in memory."""
    if frames.shape[-2] == 0:
        return frames.new_zeros(*frames.shape[:-1], num_mel_bins), frames.new_zeros(frames.shape[:-1])
    weights = _window(window, frames.shape[-1], frames.device)
    mel = mel_banks(sample_rate, num_mel_bins, low_freq, high_freq, frames.device)
    first = int(window == POVEY)  # that window takes away the first sample, and power does not depend on the beginning
    blocks = [_fbank_block(piece, weights, first, mel, mel_floor) for piece in _pieces(frames)]
    if len(blocks) == 1:
        return blocks[0]
    fbank, energy = zip(*blocks, strict=True)
    dim = 0 if frames.dim() > 2 else -2
    return torch.cat(fbank, dim=dim), torch.cat(energy, dim=max(dim, -1))


def _pieces(frames: Tensor) -> tuple[Tensor, ...]:
    """Pieces of about FRAMES_AT_ONCE frames: some windows of a batch, or some frames of one utterance."""
    if torch.compiler.is_compiling():  # an exported T is any T
        return (frames,)
    at_once = FRAMES_AT_ONCE[frames.device.type]
    size, dim = (max(1, at_once // frames.shape[-2]), 0) if frames.dim() > 2 else (at_once, -2)
    return torch.split(frames, size, dim)


def _fbank_block(frames: Tensor, window: Tensor, first: int, mel: Tensor, mel_floor: float) -> tuple[Tensor, Tensor]:
    """Frames (..., T, length) -> fbank (..., T, F) and log energy (..., T), in few passes over memory. first: the
    sample of a frame that the window begins with, 0 or 1."""
    length = window.numel()
    frames = frames - frames.mean(-1, keepdim=True)
    energy = torch.linalg.vector_norm(frames, dim=-1).mul_(FULL_SCALE).square_().clamp_min_(FLOOR).log_()
    emphasised = frames.new_empty(*frames.shape[:-1], fft_size(length))
    if first == 0:  # the first sample is its own predecessor
        emphasised[..., 0] = frames[..., 0] * (1 - PREEMPHASIS)
    torch.sub(frames[..., 1:], frames[..., :-1], alpha=PREEMPHASIS, out=emphasised[..., 1 - first:length - first])
    emphasised[..., :length - first].mul_(window[first:])
    emphasised[..., length - first:] = 0.0
    squares = torch.view_as_real(torch.fft.rfft(emphasised)).square_()[..., :-1, :]
    power = squares[..., 0] + squares[..., 1]  # four times as fast as a sum over the last dimension
    return (power @ mel).clamp_min_(mel_floor).log_(), energy


def _frames(samples: Tensor, length: int, shift: int, sample_rate: int, snip_edges: bool) -> Tensor:
    """(..., S) -> (..., T, length), overlapping views; without snip_edges the signal is mirrored at its ends."""
    size = samples.shape[-1]
    count = num_frames(size, sample_rate, snip_edges)
    if count == 0:
        return samples.new_zeros(*samples.shape[:-1], 0, length)
    if not snip_edges:
        before = length // 2 - shift // 2
        index = torch.arange(-before, (count - 1) * shift + length - before, device=samples.device)
        index = index.remainder(torch.full_like(index, 2 * size))  # the mirrored signal has period 2 S
        samples = samples[..., torch.minimum(index, 2 * size - 1 - index)]
    return samples.unfold(-1, length, shift)


@lru_cache
def _window(name: str, length: int, device: torch.device) -> Tensor:
    """A window (length,) that also brings samples to Kaldi's scale. The Povey window is a Hann window raised to 0.85.
    """
    cosine = (torch.arange(length, dtype=torch.float64) * (2 * math.pi / (length - 1))).cos()
    window = (0.5 - 0.5 * cosine).pow(0.85) if name == POVEY else 0.54 - 0.46 * cosine
    return FULL_SCALE * window.float().to(device)


@lru_cache
def mel_banks(sample_rate: int, num_mel_bins: int, low_freq: float, high_freq: float, device: torch.device) -> Tensor:
    """Triangles linear in mel, (FFT bins below half the rate, F)."""
    size = fft_size(frame_sizes(sample_rate)[0])
    mel = _mel(torch.arange(size // 2, dtype=torch.float64) * (sample_rate / size)).unsqueeze(1)
    left, step = _left_ends(sample_rate, num_mel_bins, low_freq, high_freq)
    rising, falling = (mel - left) / step, (left + 2 * step - mel) / step
    return torch.minimum(rising, falling).clamp_min(0).float().to(device)


@lru_cache
def band_centres(sample_rate: int, num_mel_bins: int, low_freq: float, high_freq: float) -> Tensor:
    """The frequencies in Hz at which the triangles are highest, (F,)."""
    left, step = _left_ends(sample_rate, num_mel_bins, low_freq, high_freq)
    return 700.0 * torch.expm1((left + step) / 1127.0)


def _left_ends(sample_rate: int, num_mel_bins: int, low_freq: float, high_freq: float) -> tuple[Tensor, Tensor]:
    """Where the triangles begin, (F,) in mel, and half their width."""
    ends = _mel(torch.tensor([low_freq, high_freq or sample_rate / 2], dtype=torch.float64))
    step = (ends[1] - ends[0]) / (num_mel_bins + 1)
    return ends[0] + step * torch.arange(num_mel_bins, dtype=torch.float64), step


def _mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def voiced_frames(log_energy: Tensor) -> Tensor:
    """Energy VAD: log energy (T,) -> bool (T,)."""
    threshold = VAD_THRESHOLD + VAD_MEAN_SCALE * log_energy.double().mean()
    above = (log_energy > threshold).float().view(1, 1, -1)
    return F.max_pool1d(above, 2 * VAD_CONTEXT + 1, stride=1, padding=VAD_CONTEXT).view(-1).bool()


def normalize(features: Tensor, mode: str) -> Tensor:
    """Normalise (..., T, F) over T: "mean" subtracts the mean, "mean_variance" also divides by the deviation."""
    if mode == "none":
        return features
    features = features - features.mean(-2, keepdim=True)
    if mode == "mean":
        return features
    return features / (features.square().mean(-2, keepdim=True) + 1e-5).sqrt()
