"""Features against an independent implementation of Kaldi's formulas."""

import kaldi_native_fbank
import numpy as np
import pytest
import torch
from conftest import RATE, noise

from deepspeaker.audio.frames import frame_sizes
from deepspeaker.extraction.fbank import compute_fbank, normalize, num_frames, voiced_frames

rng = np.random.default_rng(0)
SIGNALS = {
    "noise": rng.standard_normal(16000) * 0.1,
    "gated noise": noise(1.5, 1),
    "silence": np.zeros(8000),
    "sines": 0.4 * np.sin(np.arange(16000) * 0.3) + 0.1 * np.sin(np.arange(16000) * 1.7),
    "square": np.sign(np.sin(np.arange(16000) * 0.05)),
    "one bit": rng.choice([0.0, 1 / 32768], 16000),
    "long": rng.standard_normal(90000) * 0.1,  # more frames than are worked on at once
    "one frame": rng.standard_normal(400) * 0.1,
    "constant": np.full(4000, 0.5),
}


def reference(samples, rate, bins, snip_edges, low_freq=20, high_freq=0, window="povey", scale=32768):
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.window_type = window
    options.frame_opts.samp_freq = rate
    options.frame_opts.snip_edges = snip_edges
    options.mel_opts.num_bins = bins
    options.mel_opts.low_freq = low_freq
    options.mel_opts.high_freq = high_freq
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(rate, (samples * scale).tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("bins", [40, 64, 80])
@pytest.mark.parametrize("snip_edges", [True, False])
def test_fbank_is_kaldis(name, rate, bins, snip_edges):
    samples = SIGNALS[name].astype(np.float32)
    expected = reference(samples, rate, bins, snip_edges)
    fbank, energy = compute_fbank(torch.from_numpy(samples), rate, bins, 20.0, 0.0, snip_edges)
    assert fbank.shape == expected.shape and energy.shape == expected.shape[:1]
    near = expected > expected.max(1, keepdims=True) - np.log(1e6)  # within 60 dB of the frame's strongest
    difference = np.abs(fbank.numpy() - expected)[near]
    assert difference.max() <= 0.01 and difference.mean() <= 1e-3


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("snip_edges", [True, False])
def test_hamming_windows_are_kaldis(name, rate, snip_edges):
    samples = SIGNALS[name].astype(np.float32)
    expected = reference(samples, rate, 40, snip_edges, window="hamming")
    fbank, energy = compute_fbank(torch.from_numpy(samples), rate, 40, 20.0, 0.0, snip_edges, window="hamming")
    near = expected > expected.max(1, keepdims=True) - np.log(1e6)
    difference = np.abs(fbank.numpy() - expected)[near]
    assert difference.max() <= 0.01 and difference.mean() <= 1e-3
    povey, same = compute_fbank(torch.from_numpy(samples), rate, 40, 20.0, 0.0, snip_edges)
    assert torch.equal(energy, same) and torch.equal(fbank, povey) == (np.ptp(samples) == 0)


@pytest.mark.parametrize("name", ["gated noise", "silence", "one bit"])
def test_a_floor_of_128_is_that_of_samples_within_one(name):
    """On Kaldi's scale they have the energies of the others times 2^30, and epsilon times 2^30 is 128."""
    samples = (SIGNALS[name] * 0.05).astype(np.float32)
    expected = reference(samples, RATE, 80, True, scale=1) + 30 * np.log(2)
    fbank, _ = compute_fbank(torch.from_numpy(samples), RATE, 80, 20.0, 0.0, True, mel_floor=128.0)
    assert np.abs(fbank.numpy() - expected).max() <= 0.01
    assert (fbank == np.float32(np.log(128))).any() and fbank.min() >= np.float32(np.log(128)) - 1e-6


RATES = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000]


@pytest.mark.parametrize("rate", [*RATES, 1160, 8200, 9280, 32120])  # of the last four, binary fractions come out short
def test_frames_and_steps_are_whole_samples_truncated(rate):
    assert frame_sizes(rate) == (rate * 25 // 1000, rate * 10 // 1000)
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.mel_opts.num_bins, options.mel_opts.low_freq = 4, 100
    for samples in (sum(frame_sizes(rate)) - 1, sum(frame_sizes(rate))):
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(rate, [0.0] * samples)
        fbank.input_finished()
        assert num_frames(samples, rate, True) == fbank.num_frames_ready


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("snip_edges", [True, False])
def test_fbank_at_every_rate_is_kaldis(rate, snip_edges):
    samples = SIGNALS["gated noise"].astype(np.float32)
    expected = reference(samples, rate, 40, snip_edges)
    fbank, _ = compute_fbank(torch.from_numpy(samples), rate, 40, 20.0, 0.0, snip_edges)
    assert fbank.shape == expected.shape
    near = expected > expected.max(1, keepdims=True) - np.log(1e6)
    assert np.abs(fbank.numpy() - expected)[near].max() <= 0.01


@pytest.mark.parametrize("low_freq, high_freq", [(0, 0), (150, 0), (20, 3400), (300, 3900)])
def test_lowest_and_highest_frequency_are_kaldis(low_freq, high_freq):
    samples = SIGNALS["noise"].astype(np.float32)
    expected = reference(samples, RATE, 30, True, low_freq, high_freq)
    fbank, _ = compute_fbank(torch.from_numpy(samples), RATE, 30, float(low_freq), float(high_freq), True)
    np.testing.assert_allclose(fbank, expected, atol=0.01)


def test_batch_gives_what_single_signals_give():
    batch = torch.from_numpy(np.stack([noise(0.7, 1), noise(0.7, 2)]))
    fbank, energy = compute_fbank(batch, RATE, 40, 20.0, 0.0, True)
    for i, samples in enumerate(batch):
        alone, alone_energy = compute_fbank(samples, RATE, 40, 20.0, 0.0, True)
        torch.testing.assert_close(fbank[i], alone)
        torch.testing.assert_close(energy[i], alone_energy)


def test_energy_and_vad_frame_by_frame():
    samples = torch.from_numpy(noise(1.0, 3))
    _, energy = compute_fbank(samples, RATE, 40, 20.0, 0.0, True)
    length, shift = frame_sizes(RATE)
    slow = []
    for start in range(0, len(samples) - length + 1, shift):
        frame = samples[start:start + length].double() * 32768
        slow.append(float(((frame - frame.mean()) ** 2).sum().clamp_min(1.1920929e-07).log()))
    np.testing.assert_allclose(energy, slow, rtol=1e-5)
    threshold = 5.5 + 0.5 * np.mean(slow)
    for t, voiced in enumerate(voiced_frames(energy).tolist()):
        around = [e > threshold for e in slow[max(0, t - 2):t + 3]]
        assert voiced == (sum(around) / len(around) >= 0.12)


@pytest.mark.parametrize("energy, voiced", [(9.79, []), (9.82, [8, 9, 10, 11, 12])])
def test_vad_threshold(energy, voiced):
    """Frame 3 lifts the mean far above the median; frame 10 lies below or above 5.5 + 0.5 * (128 + x) / 16."""
    log_energy = torch.full((16,), 2.0)
    log_energy[3], log_energy[10] = 100.0, energy
    assert voiced_frames(log_energy).nonzero().squeeze(1).tolist() == [1, 2, 3, 4, 5, *voiced]


def test_some_frames_are_unvoiced():
    voiced = voiced_frames(compute_fbank(torch.from_numpy(noise(2.0, 1)), RATE, 40, 20.0, 0.0, True)[1])
    assert 0.4 < voiced.float().mean() < 0.9


@pytest.mark.parametrize("samples, snip, frames", [(399, True, 0), (400, True, 1), (559, True, 1), (560, True, 2),
                                                   (79, False, 0), (80, False, 1), (239, False, 1), (240, False, 2)])
def test_number_of_frames(samples, snip, frames):
    assert num_frames(samples, RATE, snip) == frames
    assert len(compute_fbank(torch.ones(samples), RATE, 40, 20.0, 0.0, snip)[0]) == frames


def test_normalize():
    x = torch.randn(3, 50, 8) * 4 + 2
    assert normalize(x, "none") is x
    torch.testing.assert_close(normalize(x, "mean"), x - x.mean(1, keepdim=True))
    both = normalize(x, "mean_variance")
    torch.testing.assert_close(both.mean(1), torch.zeros(3, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(both.var(1, correction=0), torch.ones(3, 8), atol=1e-4, rtol=0)
    assert torch.isfinite(normalize(torch.ones(1, 5, 8), "mean_variance")).all()
