"""What frames tell of a sound: each value rises and falls with what was done to the sound."""

import numpy as np
import pytest
import soxr
import torch
from conftest import RATE
from tools import voice

from deepspeaker.errors import UserError
from deepspeaker.extraction.fbank import band_centres, compute_fbank, mel_banks, voiced_frames
from deepspeaker.extraction.sound_quality import MOST_REVERBERATION, sound_quality
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.inputs import Compared
from deepspeaker.scoring.quality import SoundQuality, measure, read_qualities

SPEECH = np.concatenate([voice(1, seconds=2.0), np.zeros(RATE // 2, np.float32), voice(1, 1, seconds=2.0)])
RNG = np.random.default_rng(0)


def of(samples: np.ndarray, floor: float = 1e-4) -> SoundQuality:
    samples = samples + floor * RNG.standard_normal(len(samples))
    fbank, energy = compute_fbank(torch.from_numpy(samples.astype(np.float32)), RATE, 64, 20.0, 0.0, True)
    return sound_quality(fbank, energy, voiced_frames(energy), RATE, 20.0, 0.0)


def test_each_value_tells_what_was_done():
    clean = of(SPEECH)
    assert 2 < clean.speech < 4.5 and clean.snr > 30 and clean.bandwidth > 7000
    quiet = of(0.1 * SPEECH)
    assert quiet.level == pytest.approx(clean.level - 20, abs=1.5)  # some quiet frames are no longer voiced
    power = 10 ** (clean.level / 10)
    deviation = {snr: np.sqrt(power * 10 ** (-snr / 10)) for snr in (20, 10)}
    noises = [of(SPEECH + scale * RNG.standard_normal(len(SPEECH))).snr for scale in deviation.values()]
    assert noises == [pytest.approx(20, abs=2), pytest.approx(10, abs=2)]
    narrow = soxr.resample(soxr.resample(SPEECH, RATE, 8000), 8000, RATE)
    assert of(narrow, 1e-6).bandwidth == pytest.approx(4000, rel=0.1)


@pytest.mark.parametrize("seconds", [0.3, 0.6, 1.0])
def test_reverberation_is_the_time_in_which_a_room_takes_60_decibels(seconds):
    """Syllables of noise, five a second, in a room."""
    dry = RNG.standard_normal(3 * RATE) * (np.arange(3 * RATE) % (RATE // 5) < RATE // 10)
    assert of(dry).reverberation < 0.05
    room = RNG.standard_normal(RATE) * 10 ** (-3 * np.arange(RATE) / (seconds * RATE))
    assert of(np.convolve(dry, room)[:3 * RATE] / 100).reverberation == pytest.approx(seconds, rel=0.5)


def test_the_level_is_that_of_the_voiced_samples():
    tone = 0.5 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    assert of(tone).level == pytest.approx(10 * np.log10(0.125), abs=0.05)


def test_what_has_no_voiced_frame_and_what_is_one_frame():
    silence = of(np.zeros(RATE))
    assert silence.speech <= 1 and np.isfinite(silence).all()
    short = of(SPEECH[:RATE // 40])
    assert short.reverberation == MOST_REVERBERATION and short.snr == pytest.approx(0, abs=1e-6)


def test_bands_are_highest_at_their_centres():
    centres = band_centres(RATE, 40, 20.0, 0.0).numpy()
    bins = np.arange(256) * RATE / 512
    found = bins[mel_banks(RATE, 40, 20.0, 0.0, torch.device("cpu")).numpy().argmax(0)]
    np.testing.assert_allclose(found, centres, atol=RATE / 512)


def test_the_table(tmp_path):
    quality = of(SPEECH)
    (tmp_path / "utt2quality").write_text(f"u {quality.as_text()}\n")
    assert read_qualities(tmp_path / "utt2quality")["u"] == pytest.approx(quality, rel=1e-5)
    assert read_qualities(tmp_path / "none") is None
    for text in ("1 2 3 4", "1 2 3 4 x", "1 2 nan 4 5"):
        (tmp_path / "utt2quality").write_text(f"u {text}\n")
        with pytest.raises(UserError, match="utt2quality: u: .*: make the features again"):
            read_qualities(tmp_path / "utt2quality")


def test_qualities_of_trials():
    """Model 0 is u and v, model 1 is w: means, and of speech the sum."""
    table = {"u": SoundQuality(1, -20, 10, 4000, 0.2), "v": SoundQuality(3, -30, 30, 8000, 0.4),
             "w": SoundQuality(2, -10, 15, 6000, 0.1)}
    compared = Compared(["m", "n"], Models(np.array([0, 1, 2]), np.array([2, 1])), ["u", "v", "w"], np.eye(3), 3)
    i, j = np.array([0, 0, 1]), np.array([2, 0, 1])
    for quality, of_models, of_utterances in (
            ("snr", [20, 15], [10, 30, 15]), ("level", [-25, -10], [-20, -30, -10]),
            ("bandwidth", [6000, 6000], [4000, 8000, 6000]), ("reverberation", [0.3, 0.1], [0.2, 0.4, 0.1]),
            ("speech", np.log([4, 2]), np.log([1, 3, 2]))):
        found = measure(quality, compared, i, j, utt2quality=table)
        sides = np.array(of_models)[i], np.array(of_utterances)[j]
        np.testing.assert_allclose(found[f"{quality}_smaller"], np.minimum(*sides))
        np.testing.assert_allclose(found[f"{quality}_larger"], np.maximum(*sides))
    with pytest.raises(UserError, match="utt2quality lacks 1 ids .*: w"):
        measure("snr", compared, i, j, utt2quality={"u": table["u"], "v": table["v"]})
    with pytest.raises(UserError, match="snr needs --utt2quality"):
        measure("snr", compared, i, j, utt2quality=None)
