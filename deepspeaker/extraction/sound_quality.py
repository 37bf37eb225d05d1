"""What the frames of an utterance tell of its sound: how much speech, how loud, how noisy, how wide a band, how
reverberant. Calibration learns from it how far to trust a score (deepspeaker/scoring/quality.py)."""

import math

import numpy as np
from torch import Tensor

from deepspeaker.audio.frames import FRAME_SHIFT, frame_sizes
from deepspeaker.extraction.fbank import FULL_SCALE, band_centres
from deepspeaker.scoring.quality import SoundQuality

DECIBELS = 10 / math.log(10)  # of a natural logarithm of a power
QUIETEST = 5  # percentile of the frames' levels that is taken for the noise between the words
FALL_FRAMES = 3  # frames over which the level falls: 30 ms
STEEPEST = 10  # percentile of the falls that is taken for the steep ones, at the ends of sounds
WITHIN = 40.0  # dB: bands that are weaker than the strongest by more do not count
MOST_REVERBERATION = 5.0  # seconds: of a level that hardly falls


def sound_quality(fbank: Tensor, log_energy: Tensor, voiced: Tensor, sample_rate: int, low_freq: float,
                  high_freq: float) -> SoundQuality:
    """fbank (T, F) and log energy (T,) as compute_fbank returns them, voiced (T,) bool -> the measured values.

    With no voiced frame all frames count as voiced; speech is then one frame, so that it has a logarithm.
    """
    levels = DECIBELS * log_energy.double().numpy()
    which = voiced.numpy() if voiced.any() else np.ones(len(levels), bool)
    loud = DECIBELS * float(np.log(np.mean(np.exp(levels[which] / DECIBELS))))
    full = DECIBELS * math.log(FULL_SCALE**2 * frame_sizes(sample_rate)[0])
    falls = levels[:-FALL_FRAMES] - levels[FALL_FRAMES:]
    steep = float(np.percentile(falls, 100 - STEEPEST)) / (FALL_FRAMES * FRAME_SHIFT) if len(falls) else 0.0
    bands = fbank[voiced].mean(0) if voiced.any() else fbank.mean(0)
    highest = int((bands >= bands.max() - WITHIN / DECIBELS).nonzero().max())
    return SoundQuality(
        speech=max(1, int(voiced.sum())) * FRAME_SHIFT, level=loud - full,
        snr=loud - float(np.percentile(levels, QUIETEST)),
        bandwidth=float(band_centres(sample_rate, fbank.shape[1], low_freq, high_freq)[highest]),
        reverberation=min(MOST_REVERBERATION, 60 / steep) if steep > 0 else MOST_REVERBERATION)
