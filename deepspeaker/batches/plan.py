"""Which changes each window of a batch gets: drawn by the probabilities of [augment], for all processes alike."""

from typing import NamedTuple

import numpy as np

from deepspeaker.config import AugmentConfig

ADDED = ("noise", "music", "babble")  # of which a window gets one at most
NONE = -1
TALKERS = (3, 7)  # of babble, as in Kaldi's VoxCeleb recipe (egs/voxceleb/v2/run.sh)
LOW, HIGH = (200.0, 400.0), (2800.0, 3800.0)  # Hz: ends of a telephone's band, 300 to 3400 Hz by ITU-T G.712
LOUDNESS = (0.1, 2.0)  # of a telephone's largest sample; what is above 1 is clipped


class Plan(NamedTuple):
    """The changes to n windows; random numbers are uniform from 0 to 1 and pick from what there is."""

    speed: np.ndarray  # (n,) position in Speeds.factors
    reverb: np.ndarray  # (n,) bool
    added: np.ndarray  # (n,) position in ADDED, or NONE
    snr: np.ndarray  # (n,) decibels
    sound: np.ndarray  # (n, 2) random numbers: which sound is added, and from where on
    room: np.ndarray  # (n,) random number: which response
    talkers: np.ndarray  # (n,) how many talk, if the added sound is babble
    voices: np.ndarray  # (n, 7, 2) random numbers, as `sound`, of each talker
    telephone: np.ndarray  # (n,) bool
    line: np.ndarray  # (n, 3) Hz, Hz and largest sample: the telephone's low, high, loudness

    def part(self, which: slice | np.ndarray) -> "Plan":
        """The changes to some of the windows."""
        return Plan(*(values[which] for values in self))


def draw_plan(rng: np.random.Generator, speed: np.ndarray, augment: AugmentConfig) -> Plan:
    """The changes to n windows, whose speeds (n,) are given."""
    n = len(speed)
    ends = np.cumsum([getattr(augment, kind) for kind in ADDED])
    added = np.searchsorted(ends, rng.random(n), side="right")
    added[added == len(ADDED)] = NONE
    low, high = np.array([getattr(augment, f"{kind}_snr") for kind in ADDED])[added].T
    fewest, most = TALKERS
    lowest, highest = np.log([LOW, HIGH, LOUDNESS]).T
    return Plan(
        speed=speed, reverb=rng.random(n) < augment.reverb, added=added, snr=rng.uniform(low, high),
        sound=rng.random((n, 2)), room=rng.random(n), talkers=rng.integers(fewest, most, n, endpoint=True),
        voices=rng.random((n, most, 2)), telephone=rng.random(n) < augment.telephone,
        line=np.exp(lowest + rng.random((n, 3)) * (highest - lowest)))
