"""A user's sound files -> samples. Errors begin with the name of the file."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import soxr

from deepspeaker.audio import probe, read_audio
from deepspeaker.audio.commands import MOST_PIPED
from deepspeaker.errors import UserError

STDIN = "-"  # the name of standard input
LONGEST = 1800.0  # seconds: memory grows with length
LOUDEST = 2.0  # decoding may exceed 1 a little; samples beyond this are not scaled to -1..1


def read_file(path: str | os.PathLike[str], rate: int) -> np.ndarray:
    """Samples (S,) float32 at `rate` Hz of a sound file, or of standard input ("-"). Raises UserError."""
    name = os.fspath(path)
    if name == STDIN:
        return _read_stdin(rate)
    if not os.path.exists(name):
        raise UserError(f"{name}: no such file")
    if not os.path.isfile(name):
        raise UserError(f"{name}: not a file")
    if name.endswith("|"):
        raise UserError(f"{name}: expected a sound file, or '-' for standard input; commands are not run")
    return _read(Path(name), rate)


def _read(path: Path, rate: int) -> np.ndarray:
    try:
        if (seconds := probe(path).seconds) > LONGEST:
            raise UserError(f"{path}: {seconds / 60:.0f} minutes long; at most {LONGEST / 60:.0f} are accepted: cut it "
                            "into shorter files")
        return as_samples(read_audio(os.fspath(path), rate).samples, rate, rate)
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from None


def _read_stdin(rate: int) -> np.ndarray:
    """Standard input has no name to show its format: content that libsndfile refuses but that looks like MP4 is decoded
    as .m4a, by FFmpeg's libraries."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder, "sound")
        content = sys.stdin.buffer.read(MOST_PIPED + 1) if sys.stdin else b""
        if not content:
            raise UserError("standard input is empty")
        if len(content) > MOST_PIPED:
            raise UserError(f"standard input has more than {MOST_PIPED} bytes: give a file instead")
        sound.write_bytes(content)
        try:
            try:
                return _read(sound, rate)
            except UserError:
                if not sound.read_bytes()[4:8] == b"ftyp":
                    raise
                return _read(sound.rename(sound.with_suffix(".m4a")), rate)
        except UserError as error:
            text = str(error).replace(str(sound.with_suffix(".m4a")), "standard input")
            raise UserError(text.replace(str(sound), "standard input")) from None


def as_samples(samples: np.ndarray, found: int, rate: int) -> np.ndarray:
    """Samples (S,) of any floating type within -1..1 at `found` Hz -> (S',) float32 at `rate` Hz.

    UserError for another shape or type, for values that are not finite or exceed LOUDEST, and for no samples.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind != "f" or not samples.size:
        raise UserError(f"expected samples (S,) of a floating type within -1..1, found shape {samples.shape} of "
                        f"{samples.dtype}")
    if not np.isfinite(samples).all() or np.abs(samples).max() > LOUDEST:
        raise UserError(f"expected samples within -1..1, found {np.abs(samples).max():g}")
    if found < 1:
        raise UserError(f"expected a sampling rate in Hz, found {found}")
    samples = samples.astype(np.float32, copy=False)
    if found == rate:
        return samples
    resampled: np.ndarray = soxr.ResampleStream(found, rate, 1, dtype="float32").resample_chunk(samples, last=True)
    return resampled
