"""Copies of a data directory with other sound: which kinds there are, made of what, and how loud.

A copy has no audio of its own: its file `augment` has a line `utterance description` for each utterance, with a
description as in audio/augment.py, which is drawn here. It depends only on the seed, the kind and the utterance's name.
Levels and numbers of talkers are those of Kaldi's VoxCeleb recipe (egs/voxceleb/v2/run.sh).
"""

import shlex
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.audio import probe
from deepspeaker.audio.augment import SEPARATOR
from deepspeaker.audio.content import place_in_archive
from deepspeaker.audio.simulated_rooms import ROOMS
from deepspeaker.corpus import audio_files
from deepspeaker.datadir import read_table
from deepspeaker.datadir.copy import copied
from deepspeaker.datadir.tables import FEATURE_FILES, keys, read_lines, replace_files, shown
from deepspeaker.errors import UserError

KINDS = {"speed": "", "noise": "musan", "music": "musan", "babble": "musan", "reverb": "rirs"}  # kind -> what it needs
MUSAN = {"noise": ("noise", (15, 10, 5, 0), (1, 1)),  # kind -> folder of MUSAN, decibels, how many files at once
         "music": ("music", (15, 10, 8, 5), (1, 1)),
         "babble": ("speech", (20, 17, 15, 13), (3, 7))}
SLOWEST, FASTEST = 0.5, 2.0  # speeds that copies and windows may have
MADE = ("noise", "babble", "reverb")  # kinds whose sounds the recipe can make; music needs recordings
CONDITIONS = ("noise", "reverb")  # kinds of copies of dev and of test sets that the recipe makes
SCPS = {"noise": "noise.scp", "music": "music.scp", "babble": "babble.scp", "reverb": "rooms.scp"}  # of SOUNDS_DIR
AUGMENTED = "augmented"  # end of the name of a training set with its copies


class Copy(NamedTuple):
    """A copy to be made of a data directory."""

    name: str
    kind: str  # of KINDS
    speed: float | None  # factor, of the kind "speed" alone


def copies(kinds: Iterable[str], speeds: Sequence[float], name: str = "train") -> list[Copy]:
    """The copies of these kinds of the data directory `name`, one for each speed and one of each other kind, in order.

    Raises UserError for an unknown kind, and for the kind "speed" without speeds.
    """
    found: list[Copy] = []
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"no kind of augmentation '{kind}'; there are: {' '.join(KINDS)}")
        if kind in {copy.kind for copy in found}:
            raise UserError(f"the kind of augmentation '{kind}' is named twice")
        if kind == "speed" and not speeds:
            raise UserError("the kind of augmentation 'speed' needs speeds ([augment] speeds of the configuration)")
        if kind == "speed":
            found += [Copy(f"{name}_sp{speed:g}", kind, speed) for speed in speeds]
        else:
            found.append(Copy(f"{name}_{kind}", kind, None))
    return found


def copy_names(kinds: Iterable[str], speeds: Sequence[float], name: str = "train") -> list[str]:
    """The names of these copies: train_sp0.9, train_sp1.1, train_noise, ..."""
    return [copy.name for copy in copies(kinds, speeds, name)]


def counts_with_copies(counts: Sequence[int], kinds: Sequence[str], speeds: Sequence[float]) -> list[int]:
    """Utterances of each speaker of a training set joined with its copies, from those without: copies at other speeds
    are of new speakers."""
    made = copies(kinds, speeds)
    whole = 1 + sum(copy.speed is None for copy in made)
    return [whole * count for count in counts] + [*counts] * (len(made) - whole + 1)


def training_set(train: Path, kinds: str) -> Path:
    """The data directory that networks are trained on: `train`, or, with kinds of copies, the one that joins them."""
    return train.with_name(f"{train.name}_{AUGMENTED}") if kinds else train


def remove_copies(directory: Path) -> None:
    """Delete the copies of a data directory that is no more, and the directory that joins them."""
    ends = ["sp[0-9]*", AUGMENTED, *KINDS]
    for path in (path for end in ends for path in directory.parent.glob(f"{directory.name}_{end}")):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)


def speed_copy(source: Path, target: Path, factor: float) -> int:
    """Write TARGET: SOURCE at another speed, its speakers new ones, `sp0.9-` before all ids; number of utterances."""
    prefix = f"sp{factor:g}-".encode()
    return _copy(source, target, (prefix, b""), (prefix, b""), lambda _: f"speed {factor:g}")


def noisy_copy(source: Path, target: Path, kind: str, folder: Path, seed: int) -> int:
    """Write TARGET: SOURCE with sounds of a kind, `-KIND` after utterance ids; number of utterances.

    kind: "noise", "music" or "babble"; folder: as sounds_of takes it.
    """
    _, levels, (fewest, most) = MUSAN[kind]
    sounds = sounds_of(folder, kind)
    seconds = {sound: probe(sound).seconds for sound in sounds}

    def draw(utterance: str) -> str:
        rng = _generator(seed, kind, utterance)
        count = min(int(rng.integers(fewest, most, endpoint=True)), len(sounds))
        chosen = [sounds[i] for i in rng.choice(len(sounds), count, replace=False)]
        places = [f"{rng.uniform(0, seconds[sound]):.3f} {shlex.quote(sound)}" for sound in chosen]
        return f"add {rng.choice(levels)} {' '.join(places)}"

    return _copy(source, target, (b"", f"-{kind}".encode()), (b"", b""), draw)


def reverberant_copy(source: Path, target: Path, folder: Path, seed: int) -> int:
    """Write TARGET: SOURCE as heard in rooms, `-reverb` after utterance ids; number of utterances.

    folder: as sounds_of takes it.
    """
    rooms = sounds_of(folder, "reverb")
    return _copy(source, target, (b"", b"-reverb"), (b"", b""), lambda utterance:
                 f"reverb {shlex.quote(rooms[_generator(seed, 'reverb', utterance).integers(len(rooms))])}")


def sounds_of(folder: Path, kind: str) -> list[str]:
    """The sounds of a kind, as entries of a wav.scp; UserError when there are none.

    folder: what steps/make_sounds.py made; or MUSAN as distributed, or laid out like it; or, for the kind "reverb",
    RIRS_NOISES as distributed (its small and medium simulated rooms are taken), or any tree of impulse responses.
    """
    scp = folder / SCPS[kind]
    if scp.exists():
        return _archived(scp)
    if kind == "reverb":
        places = [folder / room for room in ROOMS if (folder / room).is_dir()] or [folder]
        expected = f"impulse responses below {folder}"
    else:
        places = [folder / MUSAN[kind][0]]
        expected = f"MUSAN's layout {places[0]}/**/*.wav"
    expected += f", or {scp} (steps/make_sounds.py)"
    return [str(path) for place in places for path in sound_files(place, expected)]


def sound_files(folder: Path, expected: str) -> list[Path]:
    """All sound files below a folder, sorted, as absolute paths; UserError when there are none."""
    found = sorted(Path(path).absolute() for path in audio_files(folder)) if folder.is_dir() else []
    if not found:
        raise UserError(f"no sound files in {folder}: expected {expected}")
    for path in found:
        _refuse_separator(str(path))
    return found


def _archived(scp: Path) -> list[str]:
    """The entries of a file that steps/make_sounds.py wrote. UserError for others, and where their archive is gone."""
    entries = list(read_table(scp).values())
    if not entries:
        raise UserError(f"{scp} is empty: make the sounds again (steps/make_sounds.py)")
    for entry in entries:
        if not place_in_archive(entry):
            raise UserError(f"{scp}: expected 'FILE.ark:OFFSET' of an archive that is there, found {entry!r}: make the "
                            "sounds again (steps/make_sounds.py) where they are to stay")
        _refuse_separator(entry)
    return entries


def _refuse_separator(sound: str) -> None:
    if SEPARATOR in sound:
        raise UserError(f"{sound}: {SEPARATOR!r} in a sound's path separates operations in `augment`: rename it")


def _generator(seed: int, kind: str, utterance: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(f"{kind} {utterance}".encode())])


def _copy(source: Path, target: Path, utt: tuple[bytes, bytes], spk: tuple[bytes, bytes],
          draw: Callable[[str], str]) -> int:
    """Write a copy without features, with new ids, also in its trials.

    Its `augment` has for each utterance the operations of the source, if any, then those of `draw`.
    """
    if source.resolve() == target.resolve():
        raise UserError(f"the source and the copy are both {source}")
    files = {name: lines for name, lines in copied(source, utt, spk).items() if name not in FEATURE_FILES}
    before = _by_key(files.get("augment", []))
    names = keys(files["utt2spk"], target / "utt2spk")
    files["augment"] = [name + b" " + before.get(name, b"") + draw(shown(name)).encode() for name in names]
    replace_files(target, files | _trials(source, utt, names))
    return len(names)


def _trials(source: Path, utt: tuple[bytes, bytes], names: Iterable[bytes]) -> dict[str, list[bytes]]:
    """The trial lists and `enroll` of a test set, with the copy's utterances `names`; ids of speaker models stay."""
    paths = [path for path in (*source.glob("trials*"), source / "enroll") if path.is_file()]
    new = {name.removeprefix(utt[0]).removesuffix(utt[1]): name for name in names} if paths else {}
    return {path.name: [b" ".join(new.get(word, word) for word in line.split()) for line in read_lines(path)]
            for path in paths}


def _by_key(lines: Iterable[bytes]) -> dict[bytes, bytes]:
    pairs = (line.split(None, 1) for line in lines)
    return {name: operations + SEPARATOR.encode() for name, operations in pairs}
