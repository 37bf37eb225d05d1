"""A folder of sounds to augment speech with: noise, music, babble and rooms in wave archives, SOUNDS_DIR of the steps.

Training cuts from them what it needs; steps/augment_data_dir.py makes noisy and reverberant copies of test sets.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.atomic import atomic, replacing
from deepspeaker.audio import read_audio
from deepspeaker.audio.made_noise import make_noise
from deepspeaker.audio.made_rooms import make_room
from deepspeaker.corpus import file_entry, utterance_id
from deepspeaker.corpus.augmented_copies import SCPS, sounds_of
from deepspeaker.datadir import write_table
from deepspeaker.datadir.sound_archive import append_sound, to_16_bits
from deepspeaker.errors import UserError, examples

NUMBER = 1500  # of noises and of rooms: a network that hears thousands a minute shall not know each of them
SECONDS = 5.0  # of each noise, longer than most training windows, so that different parts are heard
LOWEST_RATE = 4000  # Hz; lower ones leave no room for what makes noises and rooms differ


class Made(NamedTuple):
    """What make_sounds wrote."""

    counts: dict[str, int]  # kind -> number of sounds
    silent: list[str]  # files left out because they are digital silence


def make_sounds(folder: Path, kinds: Iterable[str], rate: int, seed: int, musan: Path | None = None,
                rirs: Path | None = None, number: int = NUMBER) -> Made:
    """Write FOLDER/{noise,music,babble,rooms}.{ark,scp}, those of `kinds`, as a whole or not at all.

    kinds: of SCPS. musan, rirs: folders as sounds_of takes them, copied in 16 bits at `rate` Hz, several channels mixed
    into one, of impulse responses the first taken. Without musan, noise is made and babble left out: speech of the
    training set does as well. Without rirs, rooms are made. What is made, `number` of each kind, follows from the
    seed, the kind and the number of the sound. The largest absolute value of every sound is 1: levels do not count
    where they are used.

    Digital silence has no level that it could be added at. It is left out and listed, for one such file is no reason to
    do without a corpus that cannot be changed; UserError if a kind has nothing else. UserError, too, for a sound that
    cannot be read, with its name, for the kind "music" without musan, and for a FOLDER that holds other files.
    """
    kinds = list(dict.fromkeys(kinds))
    _check(folder, kinds, rate, seed, musan, number)
    made = Made({}, [])
    sources = {kind: rirs if kind == "reverb" else musan for kind in kinds if kind != "babble" or musan}
    given = {kind: sounds_of(source, kind) for kind, source in sources.items() if source}
    with replacing(folder) as new:
        for kind in sources:
            sounds = _given(given[kind], kind, rate, made.silent) if kind in given else _made(kind, rate, seed, number)
            made.counts[kind] = _write(new / SCPS[kind], folder, sounds, rate)
            if not made.counts[kind]:
                raise UserError(f"{sources[kind]}: all of its {kind} is digital silence: give other sounds")
    return made


def _check(folder: Path, kinds: list[str], rate: int, seed: int, musan: Path | None, number: int) -> None:
    """Raise UserError for what cannot be made."""
    if unknown := [kind for kind in kinds if kind not in SCPS]:
        raise UserError(f"no kind of sounds '{unknown[0]}'; there are: {' '.join(SCPS)}")
    if not kinds:
        raise UserError(f"no kind of sounds is asked for; there are: {' '.join(SCPS)}")
    if "music" in kinds and not musan:
        raise UserError("the kind of sounds 'music' needs --musan, the folder of MUSAN; only noise and rooms can be "
                        "made without")
    if number < 1:
        raise UserError(f"expected at least 1 sound of each kind, found {number}")
    if rate < LOWEST_RATE:
        raise UserError(f"expected a rate of at least {LOWEST_RATE} Hz, found {rate}")
    if seed < 0:
        raise UserError(f"expected a seed of at least 0, found {seed}")
    file_entry(os.path.abspath(folder))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: choose another folder for the sounds")
    names = {str(Path(scp).with_suffix(end)) for scp in SCPS.values() for end in (".ark", ".scp")}
    if folder.is_dir() and (others := sorted({path.name for path in folder.iterdir()} - names)):
        raise UserError(f"{folder} holds more than sounds: {examples(others)}; it would be replaced as a whole: choose "
                        "another folder")


def _made(kind: str, rate: int, seed: int, number: int) -> Iterator[tuple[str, np.ndarray]]:
    """(key, samples) of made noises or rooms."""
    make: Callable[[np.random.Generator], np.ndarray] = (
        (lambda rng: make_room(rng, rate)) if kind == "reverb" else
        (lambda rng: make_noise(rng, round(SECONDS * rate), rate)))
    for n in range(1, number + 1):
        yield f"{kind}{n:06d}", make(np.random.default_rng([seed, zlib.crc32(kind.encode()), n]))


def _given(entries: list[str], kind: str, rate: int, silent: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(key, samples) of recorded sounds; those of digital silence go to `silent`."""
    for n, entry in enumerate(entries, 1):
        samples = read_audio(entry, rate, channel=0 if kind == "reverb" else None).samples
        if to_16_bits(samples).any():
            yield utterance_id(f"{kind}{n:06d}", Path(entry).stem), samples / np.abs(samples).max()
        else:
            silent.append(entry)


def _write(scp: Path, folder: Path, sounds: Iterable[tuple[str, np.ndarray]], rate: int) -> int:
    """Write `scp` and its archive, which will lie in `folder`; number of sounds."""
    ark = scp.with_suffix(".ark")
    with atomic(ark, "wb") as file:
        offsets = {key: append_sound(file, key, samples, rate) for key, samples in sounds}
    place = os.path.join(os.path.abspath(folder), ark.name)
    write_table(scp, {key: f"{place}:{offset}" for key, offset in offsets.items()})
    return len(offsets)
