"""The frames of a data directory's utterances: their features in archives, or their sound."""

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from deepspeaker.atomic import atomic
from deepspeaker.config import FeatureConfig
from deepspeaker.datadir import read_table
from deepspeaker.datadir.archive import Index, MatrixTable, Stored, evenly_spaced, open_vector
from deepspeaker.datadir.sound_archive import SoundTable
from deepspeaker.errors import UserError
from deepspeaker.extraction.fbank import num_frames
from deepspeaker.provenance import differences, sampled, stored

Depends = Callable[[Mapping[str, object]], dict[str, object]]
DEPENDS: dict[str, Depends] = {"feats": stored, "sound": sampled}  # kind of archives -> picks its keys of [features]
FINGERPRINTED = 1000  # utterances: all of a small corpus, about a second's reading of a large one


class FrameSet:
    """The frames of a directory's utterances, of which vad.scp may name those that a network may see.

    utterances: sorted names; `counts` and `frames` take positions in that list. Raises UserError when the directory's
    archives were made with another configuration than `config`.
    """

    def __init__(self, directory: Path, config: FeatureConfig, table: MatrixTable | SoundTable, kind: str):
        """kind: of archives (DEPENDS)."""
        if different := outdated(directory, kind, config):
            raise UserError(f"{table.path} was made with another configuration ({'; '.join(different)}): make it again "
                            f"(stage 2), or use the configuration of {_conf_of(directory, kind)}")
        if not table.keys:
            raise UserError(f"{table.path} is empty: make it again (stage 2)")
        self._table, self.path, self.utterances = table, table.path, table.keys
        if config.vad and not (directory / "vad.scp").exists():
            raise UserError(f"no {directory}/vad.scp, which [features] vad = true needs: make it (stage 2)")
        self._vad = read_table(directory / "vad.scp") if config.vad else None

    def __len__(self) -> int:
        return len(self.utterances)

    @abstractmethod
    def counts(self, which: np.ndarray) -> np.ndarray:
        """How many frames (n,) each of the utterances has."""

    @abstractmethod
    def content(self, i: int) -> np.ndarray:
        """All that is stored of an utterance."""

    def frames(self, i: int) -> np.ndarray:
        """Indices (n,) of the frames a network may see: the voiced ones, or all where none is voiced."""
        count = int(self.counts(np.array([i]))[0])
        if self._vad is None:
            return np.arange(count)
        name = self.utterances[i]
        if name not in self._vad:
            raise UserError(f"{name} is in {self.path.name} and not in vad.scp: make the features again (stage 2)")
        voiced = np.flatnonzero(open_vector(self._vad[name], name))
        if voiced.size and voiced[-1] >= count:
            raise UserError(f"{name}: vad.scp has more frames than {self.path.name} ({count}); make the features again")
        return voiced if voiced.size else np.arange(count)

    def fingerprint(self) -> str:
        """A hash of the list of utterances, of their places in the archives, and of what these hold of FINGERPRINTED
        utterances, evenly spaced."""
        digest = hashlib.sha256("\n".join(self.utterances).encode())
        digest.update(" ".join(s.rpartition(":")[2] for s in self._table.specifiers).encode())
        for i in evenly_spaced(len(self), FINGERPRINTED):
            digest.update(self.content(i).data)
            digest.update(self.frames(i).data)
        return digest.hexdigest()[:16]


class FeatureSet(FrameSet):
    """feats.scp and vad.scp of a directory, opened utterance by utterance as they are asked for."""

    def __init__(self, directory: str | os.PathLike[str], config: FeatureConfig):
        directory = Path(directory)
        if not (directory / "feats.scp").exists():
            raise UserError(f"no {directory}/feats.scp: make the features first (stage 2)")
        self.table = MatrixTable(directory / "feats.scp")
        super().__init__(directory, config, self.table, "feats")
        self._num_mel_bins = config.num_mel_bins

    def counts(self, which: np.ndarray) -> np.ndarray:
        """How many frames (n,) each of the utterances has; UserError for features of another width."""
        layout = self.table.layout(which)
        for i in np.flatnonzero(layout["cols"] != self._num_mel_bins)[:1]:
            raise UserError(f"{self.utterances[which[i]]}: features of {layout['cols'][i]} bins in {self.table.path}, "
                            f"the configuration has num_mel_bins = {self._num_mel_bins}")
        return layout["rows"]

    def content(self, i: int) -> np.ndarray:
        return self.rows(i, slice(None))

    def rows(self, i: int, index: Index) -> np.ndarray:
        """Features (n, F) float32 of the frames `index`."""
        return self.table.rows(i, index)

    def stored(self, which: np.ndarray) -> Stored:
        """The frames that a network may see of each of the utterances, one after another, as the archives hold them."""
        self.counts(which)  # checks their width
        return self.table.stored(which, [slice(None) if self._vad is None else self.frames(i) for i in which.tolist()])


class SoundSet(FrameSet):
    """sound.scp and vad.scp of a directory: the frames are those whose features its samples would give."""

    def __init__(self, directory: str | os.PathLike[str], config: FeatureConfig):
        directory = Path(directory)
        if not (directory / "sound.scp").exists():
            audio = directory / "wav.scp"
            raise UserError(f"no {directory}/sound.scp, which [augment] online needs: " + (
                f"make it from {audio} (stage 2, or steps/make_fbank.sh --make 'sound vad')" if audio.exists() else
                f"it is made from {audio}, which is not there either; train on its features with online = false"))
        self.table = SoundTable(directory / "sound.scp", config.sample_rate)
        super().__init__(directory, config, self.table, "sound")
        self._snip_edges = config.snip_edges

    def counts(self, which: np.ndarray) -> np.ndarray:
        """How many frames (n,) each of the utterances gives; UserError for one that gives none."""
        lengths = self.table.lengths(which).tolist()
        counts = np.array([num_frames(length, self.table.rate, self._snip_edges) for length in lengths])
        for i in np.flatnonzero(counts < 1)[:1]:
            raise UserError(f"{self.utterances[which[i]]}: shorter than one frame in {self.path}; make the archive "
                            "again (stage 2)")
        return counts

    def content(self, i: int) -> np.ndarray:
        return self.table.samples(i)


def write_conf(directory: str | os.PathLike[str], kind: str, config: FeatureConfig) -> None:
    """Write beside the list of a kind of archives (DEPENDS) the configuration that they were made with."""
    with atomic(_conf_of(directory, kind)) as file:
        json.dump(DEPENDS[kind](config.model_dump()), file, indent=1)
        file.write("\n")


def outdated(directory: str | os.PathLike[str], kind: str, config: FeatureConfig, depends: Depends | None = None
             ) -> list[str]:
    """What differs between `config` and the configuration of a kind of archives, as `key: old -> new`; nothing where
    that is unknown, as of features of other tools. depends: picks the keys, instead of all that the archives depend
    on."""
    path, depends = _conf_of(directory, kind), depends or DEPENDS[kind]
    return differences(depends(json.loads(path.read_text())), depends(config.model_dump())) if path.exists() else []


def _conf_of(directory: str | os.PathLike[str], kind: str) -> Path:
    return Path(directory) / f"{kind}_conf.json"
