"""What windows of sound are changed with: noises, music, talkers and rooms, in mapped archives."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepspeaker.corpus.augmented_copies import SCPS
from deepspeaker.datadir.archive import evenly_spaced
from deepspeaker.datadir.sound_archive import Pieces, SoundTable
from deepspeaker.errors import UserError

FINGERPRINTED = 20  # sounds of a kind, evenly spaced
LONGEST = 1.0  # seconds of a room's response that are used; the recipe's own rooms end within 0.8


class SoundBank:
    """The sounds of a folder that steps/make_sounds.py has made. tables: by kind.

    kinds: those of SCPS that are needed. UserError where one is missing.
    """

    def __init__(self, folder: Path | None, kinds: Sequence[str], rate: int):
        self.tables: dict[str, SoundTable] = {}
        self.rate = rate
        self._direct: dict[int, int] = {}  # sample of the direct sound of a response
        for kind in kinds:
            path = folder / SCPS[kind] if folder else None
            if not path or not path.exists():
                raise UserError(f"{'no ' + str(path) if path else 'no folder of sounds (--sounds)'}: windows with "
                                f"{kind} need it; make it with steps/make_sounds.py (stage 2 of run.sh)")
            self.tables[kind] = SoundTable(path, rate)
            if not self.tables[kind].keys:
                raise UserError(f"{path} is empty: make the sounds again (steps/make_sounds.py, stage 2 of run.sh)")

    def excerpts(self, kind: str, draws: np.ndarray, size: int) -> Pieces:
        """`size` samples of each of n sounds, from anywhere in them; a shorter one goes on mirrored.

        draws: (n, 2) random numbers from 0 to 1: which sound, and from where on.
        """
        table = self.tables[kind]
        which = (draws[:, 0] * len(table.keys)).astype(int)
        begin = (draws[:, 1] * np.maximum(1, table.lengths(which) - size + 1)).astype(int)
        return Pieces(which, begin[:, None], np.full((len(which), 1), size))

    def responses(self, draws: np.ndarray) -> Pieces:
        """n impulse responses, from the direct sound on, the largest sample. What one has beyond LONGEST is left out.

        draws: (n,) random numbers from 0 to 1.
        """
        table = self.tables["reverb"]
        which = (draws * len(table.keys)).astype(int)
        begin = np.array([[self._direct_sound(i)] for i in which.tolist()])
        return Pieces(which, begin, np.minimum(table.lengths(which)[:, None] - begin, int(LONGEST * self.rate)))

    def _direct_sound(self, i: int) -> int:
        """Where the largest sample of a response lies."""
        if i not in self._direct:
            table = self.tables["reverb"]
            samples = table.samples(i)
            largest = int(np.abs(samples.astype(np.int32)).argmax())
            if not samples[largest]:
                raise UserError(f"{table.keys[i]} in {table.path}: an impulse response of zeros: take it out")
            self._direct[i] = largest
        return self._direct[i]

    @property
    def fingerprint(self) -> str:
        """A hash of the lists of sounds, their places in the archives, and the samples of FINGERPRINTED of each kind;
        "" where there are none."""
        digest = hashlib.sha256()
        for kind, table in self.tables.items():
            digest.update(f"{kind} {table.keys} {[s.rpartition(':')[2] for s in table.specifiers]}".encode())
            for i in evenly_spaced(len(table.keys), FINGERPRINTED):
                digest.update(table.samples(i).data)
        return digest.hexdigest()[:16] if self.tables else ""
