"""Impulse responses of simulated rooms, for reverberation without recorded ones."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from deepspeaker.atomic import replacing
from deepspeaker.audio import SAMPLE_RATE
from deepspeaker.errors import UserError

# folder, named as in RIRS_NOISES -> metres, shortest and longest side of its rooms
ROOMS = {"simulated_rirs/smallroom": (2.0, 10.0), "simulated_rirs/mediumroom": (10.0, 30.0)}
HEIGHT = (2.5, 5.0)  # metres
DECAY = (0.2, 0.8)  # seconds to fall by 60 dB
WALL = 0.3  # metres that speaker and microphone keep from the walls
MOST_REFLECTIONS = 25  # of one path


def simulate_rooms(folder: Path, rooms: int, seed: int) -> None:
    """Make FOLDER/simulated_rirs/{smallroom,mediumroom}/RoomN/RoomN-1.wav, `rooms` of each size (RIRS_NOISES' layout).

    Box-shaped rooms by the image-source method (Allen and Berkley 1979), computed by pyroomacoustics.
    """
    try:
        import pyroomacoustics
    except ImportError:
        raise UserError("simulating rooms needs pyroomacoustics: pip install pyroomacoustics (or give recorded "
                        "impulse responses, --rirs)") from None
    pyroomacoustics.constants.set("num_threads", 1)  # the order in which threads add up changes the last bits
    rng = np.random.default_rng(seed)
    with replacing(folder) as new:
        for kind, sides in ROOMS.items():
            for number in range(1, rooms + 1):
                path = new / kind / f"Room{number:03d}" / f"Room{number:03d}-1.wav"
                path.parent.mkdir(parents=True)
                # not FLOAT: such a WAV holds the time at which it was written
                soundfile.write(path, _response(pyroomacoustics, rng, sides), SAMPLE_RATE, subtype="PCM_24")


def _response(pyroomacoustics: Any, rng: np.random.Generator, sides: tuple[float, float]) -> np.ndarray:
    """An impulse response (S,) of a random room, speaker and microphone, its peak at 1; ends where it has decayed."""
    size = np.array([rng.uniform(*sides), rng.uniform(*sides), rng.uniform(*HEIGHT)])
    decay = rng.uniform(*DECAY)
    speaker, microphone = (rng.uniform(WALL, size - WALL) for _ in range(2))
    try:
        absorption, order = pyroomacoustics.inverse_sabine(decay, size)
    except ValueError:  # no walls absorb enough for so short a decay
        absorption, order = 0.99, 1
    room = pyroomacoustics.ShoeBox(size, fs=SAMPLE_RATE, materials=pyroomacoustics.Material(absorption),
                                   max_order=min(order, MOST_REFLECTIONS))
    room.add_source(speaker)
    room.add_microphone(microphone)
    room.compute_rir()
    response: np.ndarray = room.rir[0][0]
    direct = int(np.abs(response).argmax())
    response = response[:direct + math.ceil(decay * SAMPLE_RATE)]
    response = response / np.abs(response).max()
    return response.astype(np.float32)
