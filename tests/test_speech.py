"""What is speech, how much of it there is, and what is warned of: at and beside each threshold."""

import numpy as np
import pytest
import torch
from conftest import RATE

from deepspeaker.errors import UserError
from deepspeaker.extraction.fbank import compute_fbank
from deepspeaker.inference import speech_check as speech
from deepspeaker.inference.speech_check import Trust, check_voice, glides, judge, net_speech, pitch


def siren(seconds: float) -> np.ndarray:
    """A tone (S,) of amplitude 0.1 that goes from 120 to 240 Hz and back every two seconds."""
    octaves = 1 - np.abs(np.arange(round(seconds * RATE)) / RATE % 2 - 1)
    return 0.1 * np.sin(2 * np.pi * np.cumsum(120 * 2 ** octaves) / RATE)


def tensor(samples) -> torch.Tensor:
    return torch.as_tensor(samples, dtype=torch.float32)


def test_judgement_of_a_recording():
    samples = tensor(np.concatenate([siren(2.0), np.zeros(RATE)]))
    samples[1000:1024], samples[2000:2012], samples[3000:3008] = 0.9992, -0.9992, 0.9988  # 36 clipped
    energy = compute_fbank(samples, RATE, 40, 20.0, 0.0, True)[1]
    found = judge(samples, RATE, energy)
    assert found.seconds == 3 and found.clipped == pytest.approx(36 / 48000)
    assert found.speech == 2.02  # 200 frames begin within two seconds, and two more are next to them
    assert found.level == pytest.approx(10 * np.log10(np.mean(samples[:2 * RATE].numpy() ** 2)), abs=0.3)


@pytest.mark.parametrize("changes, words", [
    ({}, []), ({"speech": 2.0}, []), ({"speech": 1.9}, ["only 1.9 s"]), ({"clipped": 0.001}, []),
    ({"clipped": 0.0011}, ["0.1 % of the samples are clipped"]), ({"level": -45.0}, []),
    ({"level": -45.1}, ["quiet: -45 dB"]), ({"speech": 0.6, "clipped": 0.25, "level": -50.0},
                                            ["only 0.6 s", "25.0 % of", "quiet: -50 dB"]),
    ({"rate": 8000, "upsampled": True}, ["a sampling rate of 8000 Hz, lower than the model's: nothing lies above"]),
    ({"rate": 44100}, []), ({"mixed": 2}, ["2 different channels were mixed"]),
    ({"bandwidth": 4300.0}, []), ({"bandwidth": 3860.0}, ["nothing above 3860 Hz, as on a telephone"]),
    ({"rate": 8000, "upsampled": True, "bandwidth": 3860.0}, ["a sampling rate of 8000 Hz"]),
    ({"snr": 13.0}, []), ({"snr": 12.4}, ["noisy: speech only 12 dB above the noise"])])
def test_warnings(changes, words):
    warnings = Trust(seconds=4.0, speech=3.0, level=-20.0, clipped=0.0)._replace(**changes).warnings
    assert len(warnings) == len(words) and all(word in text for word, text in zip(words, warnings, strict=True))


def test_less_than_half_a_second_of_speech_is_refused():
    samples, voiced = tensor(siren(1.0)), torch.arange(98) < 50
    assert net_speech(samples, RATE, voiced) == 0.5
    with pytest.raises(UserError, match="0.5 s of speech found in 1.0 s; at least 0.5 s"):
        net_speech(samples, RATE, torch.arange(98) < 49)
    for silent in ((samples * 0, voiced), (samples, voiced & False)):
        with pytest.raises(UserError, match="no speech found in 1.0 s: silence"):
            net_speech(silent[0], RATE, silent[1])


@pytest.mark.parametrize("hertz, lag", [(84, 190), (100, 160), (160, 100), (250, 64), (390, 41)])
def test_pitch_of_a_tone(hertz, lag):
    """It dies away, so that one period ago is more like now than two are; something else is heard before it."""
    time = np.arange(RATE // 5) / RATE
    tone = np.exp(-20 * time) * np.sin(2 * np.pi * hertz * time) + 0.05
    samples = tensor(np.concatenate([np.sin(2 * np.pi * 300 * time[:1600]), tone]))
    strength, lags = pitch(samples, RATE, torch.tensor([10, 11, 20, 29]))  # the last ends beyond the samples
    torch.testing.assert_close(lags[:3], torch.full((3,), float(lag)), atol=1, rtol=0)
    assert (strength[:3] > 0.7).all() and torch.isfinite(strength).all()


def test_pitch_needs_periodicity():
    """A tone in white noise of power n has a peak of 1 / (1 + n)."""
    noise = np.random.default_rng(0).standard_normal(4 * RATE)
    for power in (0.25, 1.0):
        strength, _ = pitch(tensor(0.1 * (np.sin(np.arange(4 * RATE) * 2 * np.pi / 100) + np.sqrt(power / 2) * noise)),
                            RATE, torch.arange(390))
        assert strength.mean() == pytest.approx(1 / (1 + power), abs=0.05)


def lags_with(moves, octaves):
    """Of 101 frames, the first `moves` go up by so many octaves each from one to the next."""
    return 100 * 2 ** (octaves * np.minimum(np.arange(101), moves))


@pytest.mark.parametrize("strength, lags, frames, expected", [
    (np.full(101, 0.71), lags_with(100, 0.01), range(101), True),
    (np.full(101, 0.69), lags_with(100, 0.01), range(101), False),
    (np.full(101, 0.9), lags_with(100, -0.01), range(101), True),
    (np.full(101, 0.9), lags_with(100, 0.0033), range(101), True),
    (np.full(101, 0.9), lags_with(100, 0.0027), range(101), False),
    (np.full(101, 0.9), lags_with(100, 0.145), range(101), True),
    (np.full(101, 0.9), lags_with(100, 0.155), range(101), False),
    (np.full(101, 0.9), lags_with(21, 0.01), range(101), True),
    (np.full(101, 0.9), lags_with(19, 0.01), range(101), False),
    (np.where(np.arange(101) < 16, 0.9, 0.1), lags_with(100, 0.01), range(101), True),
    (np.where(np.arange(101) < 15, 0.9, 0.1), lags_with(100, 0.01), range(101), False),
    (np.where(np.arange(101) % 2, 0.9, 0.1), lags_with(100, 0.01), range(101), False),  # no two neighbours
    (np.full(101, 0.9), lags_with(100, 0.01), range(0, 202, 2), False)])
def test_glides(monkeypatch, strength, lags, frames, expected):
    monkeypatch.setattr(speech, "pitch", lambda *_: (tensor(strength), tensor(lags)))
    assert glides(torch.zeros(RATE), RATE, torch.tensor(frames)) == expected


def test_a_voice_is_found_behind_other_sound():
    tone = 0.1 * np.sin(np.arange(3 * RATE) * 2 * np.pi / 100)
    check_voice(tensor(np.concatenate([tone, siren(1.5)])), RATE, torch.ones(440, dtype=torch.bool))
    with pytest.raises(UserError, match="no speech found in 4.5 s: no voice detected, it may be noise or music"):
        check_voice(tensor(np.concatenate([tone, tone[:RATE * 3 // 2]])), RATE, torch.ones(440, dtype=torch.bool))


@pytest.mark.parametrize("samples, words", [
    (0.1 * np.sin(np.arange(RATE) * 2 * np.pi / 100), "no voice detected"),
    (siren(0.4), "0.4 s of speech found in 0.4 s")])
def test_judgement_refuses_what_is_no_speech(samples, words):
    with pytest.raises(UserError, match=words):
        judge(tensor(samples), RATE, compute_fbank(tensor(samples), RATE, 40, 20.0, 0.0, True)[1])
