"""Sound: files and commands -> samples, and what is done to samples. Knows no data directory and no corpus.

reading.py          a wav.scp entry -> samples of one channel at the rate asked for
sndfile.py          decoding by libsndfile: WAV, FLAC, OGG, MP3
ffmpeg.py           decoding by FFmpeg's libraries: M4A and all that libsndfile does not read
decoding.py         common parts of these two
commands.py         commands of wav.scp (`cmd |`), their time-out and the limit of their output
augment.py          augmentation of samples: speed, added sounds, reverberation
simulated_rooms.py  impulse responses of simulated rooms
frames.py           length and shift of frames
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepspeaker.audio.reading import Audio, probe, read_audio

__all__ = ["SAMPLE_RATE", "Audio", "probe", "read_audio"]

SAMPLE_RATE = 16000  # Hz, of the corpora this is made for; another rate is converted to what the features ask for


def __getattr__(name: str) -> object:
    """The doors of the wing, imported when first asked for: they bring numpy and libsndfile along."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepspeaker.audio import reading

    return getattr(reading, name)
