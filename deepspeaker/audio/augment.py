"""Augmentation of samples when audio is read: speed, added sounds, reverberation.

A description is `operation; operation; ...`, applied in this order. Words with blanks are quoted as in a shell. An
operation is one of

    speed FACTOR                           FACTOR times faster, pitch and formants with it (Ko et al. 2015)
    add SNR SECOND FILE [SECOND FILE ...]  each FILE is read from SECOND on, and repeated from its start when it
                                           ends; all are scaled to equal power, and their sum lies SNR dB below the
                                           utterance
    reverb FILE                            convolved with the impulse response FILE, its direct sound staying in place

FILE is a sound file or a place in an archive, FILE.ark:OFFSET.
"""

import shlex
from collections.abc import Callable

import numpy as np
import soxr

from deepspeaker.audio.reading import probe, read_audio
from deepspeaker.errors import UserError

SEPARATOR = "; "  # between operations


def augment(samples: np.ndarray, rate: int, description: str) -> np.ndarray:
    """Samples (S,) float32 changed as a description says. Raises UserError for a malformed one."""
    for operation in description.split(SEPARATOR):
        try:
            name, *arguments = shlex.split(operation)
            change = OPERATIONS[name]
        except (KeyError, ValueError):
            raise UserError(f"augment: expected one of {', '.join(OPERATIONS)}, found {operation!r}") from None
        try:
            samples = change(samples, rate, *arguments)
        except (TypeError, ValueError):
            raise UserError(f"augment: malformed operation {operation!r}") from None
    return np.ascontiguousarray(samples, np.float32)


def change_speed(samples: np.ndarray, rate: int, factor: str) -> np.ndarray:
    """(S,) -> (S / factor,)"""
    changed: np.ndarray = soxr.resample(samples, float(factor) * rate, rate)
    return changed


def add(samples: np.ndarray, rate: int, snr: str, second: str, file: str, *more: str) -> np.ndarray:
    """(S,) -> (S,), with other sounds added, unless the samples or all sounds are digital silence."""
    places = [second, file, *more]
    sounds = [_excerpt(name, rate, float(start), len(samples))
              for start, name in zip(places[::2], places[1::2], strict=True)]
    noise = np.sum([sound / max(_rms(sound), 1e-9) for sound in sounds], axis=0)
    gain = _rms(samples) / max(_rms(noise), 1e-9) * 10 ** (-float(snr) / 20)
    mixed: np.ndarray = samples + gain * noise
    return mixed


def reverberate(samples: np.ndarray, rate: int, file: str) -> np.ndarray:
    """(S,) -> (S,) of the same power. Of an impulse response with several channels the first is taken."""
    from scipy.signal import fftconvolve  # here alone: it takes half a second to import

    response = read_audio(_no_command(file), rate, channel=0).samples
    direct = int(np.abs(response).argmax())
    if not response[direct]:
        raise UserError(f"{file}: an impulse response of zeros: take it out of its folder")
    wet: np.ndarray = fftconvolve(samples, response)[direct:direct + len(samples)]
    wet = wet * (_rms(samples) / max(_rms(wet), 1e-9))
    return wet


OPERATIONS: dict[str, Callable[..., np.ndarray]] = {"speed": change_speed, "add": add, "reverb": reverberate}


def _excerpt(file: str, rate: int, second: float, size: int) -> np.ndarray:
    """`size` samples of a sound file from `second` on, which is repeated from its start where it ends."""
    end = second + size / rate
    if end <= probe(_no_command(file)).seconds:
        return np.resize(read_audio(file, rate, second, end).samples, size)  # resampling may give one more or less
    return np.resize(np.roll(read_audio(file, rate).samples, -round(second * rate)), size)


def _no_command(file: str) -> str:
    """The file's name, unchanged. Raises UserError for a command: unlike wav.scp, a description runs none."""
    if file.endswith("|"):
        raise UserError(f"augment: expected a sound file, found the command {file!r}")
    return file


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples), dtype=np.float64)))
