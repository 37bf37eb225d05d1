"""A folder of sounds to augment speech with: noise, music, babble and rooms in wave archives, SOUNDS_DIR of the steps.

Training cuts from them what it needs; steps/augment_data_dir.py makes noisy and reverberant copies of test sets.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.atomic import atomic, remove_unfinished
from deepspeaker.audio import read_audio
from deepspeaker.audio.frames import RATES
from deepspeaker.audio.made_noise import make_noise
from deepspeaker.audio.made_rooms import make_room
from deepspeaker.corpus import file_entry, utterance_id
from deepspeaker.corpus.augmented_copies import SCPS, sounds_of
from deepspeaker.datadir import write_table
from deepspeaker.datadir.archive import evenly_spaced
from deepspeaker.datadir.sound_archive import append_sound, to_16_bits
from deepspeaker.datadir.sources import Source, sources
from deepspeaker.errors import UserError

NUMBER = 1500  # of each kind made here: a network that hears thousands a minute shall not know each of them
SECONDS = 5.0  # of each but rooms, longer than most training windows, so that different parts are heard


class Made(NamedTuple):
    """What make_sounds wrote."""

    counts: dict[str, int]  # kind -> number of sounds
    silent: list[str]  # files or utterances left out because they are digital silence
    unreadable: list[str]  # utterances left out, which stage 2 leaves out of the training set, too


def make_sounds(folder: Path, kinds: Iterable[str], rate: int, seed: int, musan: Path | None = None,
                rirs: Path | None = None, speech: Path | None = None, number: int = NUMBER, pipes: bool = True) -> Made:
    """Write FOLDER/{noise,music,babble,rooms}.{ark,scp}, those of `kinds`, each in place of an earlier one.

    kinds: of SCPS. musan, rirs: folders as sounds_of takes them, copied in 16 bits at `rate` Hz, several channels mixed
    into one, of impulse responses the first taken. Without musan, noise is made, and the talkers of babble are
    utterances of the data directory `speech`; music needs musan. Without rirs, rooms are made. What is made or taken
    of `speech`, `number` of each kind at most, follows from the seed, the kind and the number of the sound. The largest
    absolute value of every sound is 1: levels do not count where they are used. pipes False: commands in the wav.scp of
    `speech` are refused.

    Digital silence has no level that it could be added at. It is left out and listed, for one such file is no reason to
    do without a corpus that cannot be changed; UserError if a kind has nothing else. UserError, too, for a sound that
    cannot be read, with its name, and for a kind without a source.
    """
    kinds = list(dict.fromkeys(kinds))
    _check(folder, kinds, rate, seed, musan, speech, number)
    made = Made({}, [], [])
    folders = {kind: rirs if kind == "reverb" else musan for kind in kinds}
    given = {kind: sounds_of(source, kind) for kind, source in folders.items() if source}
    talkers = sources(speech, pipes) if speech and "babble" in kinds and not musan else {}
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        if kind in given:
            sounds = _given(given[kind], kind, rate, made.silent)
        elif kind == "babble":
            sounds = _talkers(talkers, rate, number, made)
        else:
            sounds = _made(kind, rate, seed, number)
        made.counts[kind] = _write(folder / SCPS[kind], sounds, rate, folders[kind] or speech)
    return made


def _check(folder: Path, kinds: list[str], rate: int, seed: int, musan: Path | None, speech: Path | None,
           number: int) -> None:
    """Raise UserError for what cannot be made."""
    if unknown := [kind for kind in kinds if kind not in SCPS]:
        raise UserError(f"no kind of sounds '{unknown[0]}'; there are: {' '.join(SCPS)}")
    if not kinds:
        raise UserError(f"no kind of sounds is asked for; there are: {' '.join(SCPS)}")
    if "music" in kinds and not musan:
        raise UserError("the kind of sounds 'music' needs --musan, the folder of MUSAN")
    if "babble" in kinds and not (musan or speech):
        raise UserError("the kind of sounds 'babble' needs --speech, a data directory whose speakers talk, or --musan, "
                        "the folder of MUSAN")
    if number < 1:
        raise UserError(f"expected at least 1 sound of each kind, found {number}")
    if not RATES[0] <= rate <= RATES[1]:
        raise UserError(f"expected a rate of {RATES[0]} to {RATES[1]} Hz, found {rate}")
    if seed < 0:
        raise UserError(f"expected a seed of at least 0, found {seed}")
    file_entry(os.path.abspath(folder))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: choose another folder for the sounds")


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
        yield from _audible(utterance_id(f"{kind}{n:06d}", Path(entry).stem), samples, entry, silent)


def _talkers(speech: Mapping[str, Source], rate: int, number: int, made: Made) -> Iterator[tuple[str, np.ndarray]]:
    """(key, samples) of the beginnings of utterances, evenly spaced in the list, so that many speakers are among them;
    what cannot be used goes to `made`."""
    names = list(speech)
    for name in (names[i] for i in evenly_spaced(len(names), number)):
        try:
            samples = speech[name].read(rate).samples[:round(SECONDS * rate)]
        except (UserError, OSError):
            made.unreadable.append(name)
            continue
        yield from _audible(name, samples, name, made.silent)


def _audible(key: str, samples: np.ndarray, name: str, silent: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(key, samples) scaled to 1; nothing for digital silence, whose name goes to `silent`."""
    if to_16_bits(samples).any():
        yield key, samples / np.abs(samples).max()
    else:
        silent.append(name)


def _write(scp: Path, sounds: Iterable[tuple[str, np.ndarray]], rate: int, source: Path | None) -> int:
    """Write `scp` and its archive; number of sounds. Without the scp there is no archive to be read: a list never
    refers to an archive that is not its own."""
    ark = scp.with_suffix(".ark")
    remove_unfinished(ark)
    with atomic(ark, "wb") as file:
        offsets = {key: append_sound(file, key, samples, rate) for key, samples in sounds}
        if not offsets:
            raise UserError(f"{source}: nothing in it can be used as {scp.stem}, all of it is digital silence or "
                            "cannot be read: give other sounds")
        file.flush()  # a full disk is told here, while the earlier list is there
        scp.unlink(missing_ok=True)
    write_table(scp, {key: f"{os.path.abspath(ark)}:{offset}" for key, offset in offsets.items()})
    return len(offsets)
