"""A user's sound files -> samples. Errors begin with the name of the file."""

import os
import sys

import numpy as np
import soxr

from deepspeaker.audio.commands import MOST_PIPED
from deepspeaker.audio.content import Content, content_of, is_command, place_in_archive
from deepspeaker.audio.decoding import Limits, refuse_loud
from deepspeaker.audio.reading import Audio, decode
from deepspeaker.errors import UserError

STDIN = "-"  # the name of standard input
LONGEST = Limits(seconds=1800.0)  # memory grows with length


def read_file(path: str | os.PathLike[str], rate: int, channel: int | None = None) -> Audio:
    """The sound at `rate` Hz of a file, or of standard input ("-"), in any format. UserError that names it.

    channel: which to take of several, from 0; None: their mean.
    """
    content = _content(os.fspath(path))
    try:
        return decode(content, rate, channel=channel, limits=LONGEST)
    except OSError as error:
        raise UserError(f"{content.name}: {error.strerror or error}") from None


def _content(name: str) -> Content:
    """What a file or an archive has in it, or what comes from standard input. UserError for nothing, and for commands.
    """
    if name == STDIN:
        given = sys.stdin.buffer.read(MOST_PIPED + 1) if sys.stdin else b""
        if not given:
            raise UserError("standard input is empty")
        if len(given) > MOST_PIPED:
            raise UserError(f"standard input has more than {MOST_PIPED} bytes: give a file instead")
        return Content("standard input", given)
    if is_command(name):
        raise UserError(f"{name}: expected a sound file, or '-' for standard input; commands are not run: save what it "
                        "prints in a file")
    if not os.path.exists(name) and not place_in_archive(name):
        raise UserError(f"{name}: no such file")
    if os.path.exists(name) and not os.path.isfile(name):
        raise UserError(f"{name}: not a file")
    return content_of(name)


def as_samples(samples: np.ndarray, found: int, rate: int) -> np.ndarray:
    """Samples (S,) of any floating type within -1..1 at `found` Hz -> (S',) float32 at `rate` Hz.

    UserError for another shape or type, for values that are not finite or far outside -1..1, and for no samples.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind != "f" or not samples.size:
        raise UserError(f"expected samples (S,) of a floating type within -1..1, found shape {samples.shape} of "
                        f"{samples.dtype}")
    refuse_loud(samples)
    if found < 1:
        raise UserError(f"expected a sampling rate in Hz, found {found}")
    samples = samples.astype(np.float32, copy=False)
    if found == rate:
        return samples
    resampled: np.ndarray = soxr.ResampleStream(found, rate, 1, dtype="float32").resample_chunk(samples, last=True)
    return resampled
