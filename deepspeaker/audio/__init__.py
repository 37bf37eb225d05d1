"""Sound: files and commands -> samples, and what is done to samples. Knows no data directory and no corpus.

content.py          a wav.scp entry -> the bytes of a sound file: of a file, a command, a place in an archive
reading.py          these -> samples of one channel at the rate asked for
sndfile.py          decoding by libsndfile: WAV, FLAC, Ogg and others
ffmpeg.py           decoding by FFmpeg's libraries: M4A, MP3 and all that libsndfile does not read
ffmpeg_frames.py    its packets and frames
decoding.py         common parts of these two
cut_short.py        files with less than their headers state
commands.py         commands of wav.scp (`cmd |`), their time-out and the limit of their output
augment.py          augmentation of samples: speed, added sounds, reverberation
simulated_rooms.py  impulse responses of simulated rooms
made_noise.py       noises made of random numbers
made_rooms.py       impulse responses made of random numbers
frames.py           length and shift of frames
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepspeaker.audio.reading import Audio, probe, read_audio

__all__ = ["SAMPLE_RATE", "Audio", "probe", "read_audio"]

EXTENSIONS = (  # of sound files, for whoever looks for some; of two kinds of one file, the earlier is taken
    ".wav", ".flac", ".sph", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".wv", ".tta", ".ape",
    ".ogg", ".oga", ".opus", ".spx", ".mp3", ".m4a", ".aac", ".webm", ".mka", ".wma", ".amr", ".3gp", ".mp2", ".ac3")
SAMPLE_RATE = 16000  # Hz, of the corpora this is made for; another rate is converted to what the features ask for


def __getattr__(name: str) -> object:
    """The doors of the wing, imported when first asked for: they bring numpy and libsndfile along."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepspeaker.audio import reading

    return getattr(reading, name)
