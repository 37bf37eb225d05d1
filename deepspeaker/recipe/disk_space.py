"""How much disk the features of data directories need, estimated before they are made."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from deepspeaker.audio import probe
from deepspeaker.audio.content import is_command
from deepspeaker.audio.frames import FRAME_SHIFT, frame_sizes
from deepspeaker.audio.made_rooms import LONGEST
from deepspeaker.corpus.augmented_copies import sounds_of
from deepspeaker.corpus.sounds import NUMBER, SECONDS
from deepspeaker.datadir import ARCHIVES, read_segments, read_table
from deepspeaker.errors import UserError

SAMPLED = 100  # recordings whose mean length is taken for all
FEATURES = ("feats", "vad")  # kinds of archives that most data directories have


def check_space(features: Mapping[str, Any], audio: Mapping[str, Path], ark_dir: Path,
                makes: Mapping[str, Collection[str]] | None = None, beside: float = 0) -> str:
    """A line with the frames and bytes to expect of data directories' archives; UserError where the disk has less.

    features: [features] of the configuration. audio: name of each data directory -> the directory from which the
    lengths of its recordings are read: itself, or the source of the copy. makes: name -> kinds of archives, of "feats",
    "vad" and "sound", where these are others than FEATURES. Archives of these names and kinds in ark_dir count as free
    space, for they will be replaced. beside: bytes that other files need.
    """
    kinds = {name: (makes or {}).get(name, FEATURES) for name in audio}
    frame_bytes = {"feats": features["num_mel_bins"] * (2 if features["compress"] else 4), "vad": 4,
                   "sound": 2 * frame_sizes(features["sample_rate"])[1]}
    hours = {directory: hours_of(directory) for directory in set(audio.values())}
    frames = {name: hours[directory] * 3600 / FRAME_SHIFT for name, directory in audio.items()}
    needed = beside + sum(frames[name] * frame_bytes[kind] for name in audio for kind in kinds[name])
    replaced = sum(path.stat().st_size for name in audio for path in _archives(ark_dir, name, kinds[name]))
    place = next(folder for folder in (ark_dir.absolute(), *ark_dir.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if needed > free + replaced:
        raise UserError(f"{ark_dir}: features and sound need about {_size(needed)}, the disk has {_size(free)} left: "
                        "make room, or choose another --dir")
    unknown = ", ".join(str(directory) for directory in sorted(hours) if not hours[directory])
    if not (total := sum(frames.values())):
        return f"How many frames to expect is not known before {unknown} is read; {_size(free)} are free"
    without = f", and those of {unknown}, whose lengths are not known before it is read" if unknown else ""
    return f"Expect about {_number(total)} frames in {_size(needed)}{without}; {_size(free)} are free"


def sound_bytes(kinds: Collection[str], rate: int, musan: str = "", rirs: str = "") -> float:
    """Size, about, of the archives that corpus.sounds.make_sounds makes of these kinds; musan, rirs: "" for none."""
    made = {"noise": NUMBER * SECONDS, "babble": NUMBER * SECONDS, "reverb": NUMBER * LONGEST}
    sources = {kind: rirs if kind == "reverb" else musan for kind in kinds}
    return 2 * rate * sum(_seconds_of(sounds_of(Path(source), kind)) if source else made.get(kind, 0.0)
                          for kind, source in sources.items())


def _archives(ark_dir: Path, name: str, kinds: Collection[str]) -> set[Path]:
    """The archives of a data directory that are made again; those of other kinds stay."""
    return {path for kind in kinds for path in ark_dir.glob(f"{ARCHIVES[kind]}_{name}.*.ark")}


def hours_of(directory: Path) -> float:
    """Hours of audio in a data directory: from its segments, else estimated from the lengths of some recordings."""
    if (directory / "segments").exists():
        return sum(max(0.0, end - start) for _, start, end, _ in read_segments(directory).values() if end) / 3600
    return _seconds_of(list(read_table(directory / "wav.scp").values())) / 3600


def _seconds_of(entries: list[str]) -> float:
    """Seconds of sound in entries of a wav.scp, estimated from some."""
    files = [entry for entry in entries if not is_command(entry)]  # the length of a command's output is unknown
    found = [seconds for entry in files[::max(1, len(files) // SAMPLED)] if (seconds := _seconds(entry))]
    return len(entries) * sum(found) / max(1, len(found))


def _seconds(entry: str) -> float | None:
    try:
        return probe(entry).seconds
    except (UserError, OSError):  # stage 2 reports it
        return None


def _number(count: float) -> str:
    return f"{count / 1e6:.1f} million" if count >= 1e5 else f"{count:,.0f}"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
