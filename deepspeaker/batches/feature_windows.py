"""Windows cut from feature archives, which are mapped, or lie in GPU memory."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deepspeaker.datadir.archive import Index
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.extraction.gpu_archive import Resident, resident_bytes


class FeatureWindows:
    """The windows of a FeatureSet."""

    what = "archives"

    def __init__(self, features: FeatureSet):
        self._table = features.table
        self._table.read_at_random()
        self._resident: Resident | None = None

    def use(self, device: torch.device) -> None:
        """Mapped windows are gathered on the CPU; Batches uploads them."""

    def frames_needed(self, frames: int) -> np.ndarray:
        """How many frames of an utterance give `frames` at each of its speeds, of which there is one."""
        return np.array([frames])

    def bytes(self) -> int | None:
        """GPU memory that `upload` takes; None where these archives cannot go there."""
        return resident_bytes(self._table)

    def upload(self, device: torch.device) -> None:
        """Copy the archives to the memory of `device` and cut windows there from now on."""
        self._resident = Resident(self._table, device)

    def leave_gpu(self) -> bool:
        """Free that memory and cut from mapped archives again; False where none was taken."""
        was_there, self._resident = self._resident is not None, None
        return was_there

    def gather(self, which: np.ndarray, index: Sequence[Index]) -> Tensor:
        """Windows (n, T, F) float32: of utterance which[k] the frames index[k]."""
        if self._resident:
            return self._resident.gather(which, index)
        return torch.from_numpy(self._table.gather(which, index))
