"""What windows of sound are changed with: noises, music, talkers and rooms, in mapped archives."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepspeaker.corpus.augmented_copies import SCPS
from deepspeaker.datadir.archive import evenly_spaced
from deepspeaker.datadir.sound_archive import SoundTable
from deepspeaker.errors import UserError

FINGERPRINTED = 20  # sounds of a kind, evenly spaced
LONGEST = 1.0  # seconds of a room's response that are used; the recipe's own rooms end within 0.8


class SoundBank:
    """The sounds of a folder that steps/make_sounds.py has made.

    kinds: those of SCPS that are needed. UserError where one is missing.
    """

    def __init__(self, folder: Path | None, kinds: Sequence[str], rate: int):
        self._tables: dict[str, SoundTable] = {}
        self.rate = rate
        for kind in kinds:
            path = folder / SCPS[kind] if folder else None
            if not path or not path.exists():
                raise UserError(f"{'no ' + str(path) if path else 'no folder of sounds (--sounds)'}: windows with "
                                f"{kind} need it; make it with steps/make_sounds.py (stage 2 of run.sh)")
            self._tables[kind] = SoundTable(path, rate)
            if not self._tables[kind].keys:
                raise UserError(f"{path} is empty: make the sounds again (steps/make_sounds.py, stage 2 of run.sh)")

    def has(self, kind: str) -> bool:
        return kind in self._tables

    def excerpts(self, kind: str, draws: np.ndarray, size: int) -> np.ndarray:
        """Samples (n, size) int16 of sounds, from anywhere in them; a shorter one goes on mirrored.

        draws: (n, 2) random numbers from 0 to 1: which sound, and from where on.
        """
        table = self._tables[kind]
        which = (draws[:, 0] * len(table.keys)).astype(int)
        begin = (draws[:, 1] * np.maximum(1, table.lengths(which) - size + 1)).astype(int)
        return table.cut(which, begin[:, None], np.full((len(which), 1), size), size)

    def responses(self, draws: np.ndarray) -> np.ndarray:
        """Impulse responses (n, R) float32, which begin with the direct sound, the largest sample, and end with zeros.

        draws: (n,) random numbers from 0 to 1. What a response has beyond LONGEST is left out.
        """
        table = self._tables["reverb"]
        found = []
        for i in (draws * len(table.keys)).astype(int).tolist():
            samples = table.samples(i)
            direct = int(np.abs(samples.astype(np.int32)).argmax())
            if not samples[direct]:
                raise UserError(f"{table.keys[i]} in {table.path}: an impulse response of zeros: take it out")
            found.append(samples[direct:direct + int(LONGEST * self.rate)])
        out = np.zeros((len(found), max(map(len, found))), np.float32)
        for row, response in zip(out, found, strict=True):
            row[:len(response)] = response
        scaled: np.ndarray = out / np.abs(out).max(-1, keepdims=True)
        return scaled

    @property
    def fingerprint(self) -> str:
        """A hash of the lists of sounds, their places in the archives, and the samples of FINGERPRINTED of each kind;
        "" where there are none."""
        digest = hashlib.sha256()
        for kind, table in self._tables.items():
            digest.update(f"{kind} {table.keys} {[s.rpartition(':')[2] for s in table.specifiers]}".encode())
            for i in evenly_spaced(len(table.keys), FINGERPRINTED):
                digest.update(table.samples(i).data)
        return digest.hexdigest()[:16] if self._tables else ""
