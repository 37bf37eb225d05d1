"""Which frames a network may see, of a million utterances in little memory."""

import numpy as np

from deepspeaker.dataset import FeatureSet


class VisibleFrames:
    """The frames of FeatureSet.frames, of all utterances, a bit each where voice activity matters.

    counts: (n,) how many frames of each utterance are visible.
    """

    def __init__(self, features: FeatureSet):
        rows = features.counts(np.arange(len(features)))
        self.bits = np.zeros(0, np.uint8)
        if not features.vad:
            self.counts = rows.astype(np.int64)
            return
        self.counts = np.zeros(len(rows), np.int64)
        self._starts = np.concatenate([[0], np.cumsum((rows + 7) // 8)])
        self.bits = np.zeros(self._starts[-1], np.uint8)
        for i, count in enumerate(rows.tolist()):
            frames = features.frames(i)
            self.counts[i] = frames.size
            visible = np.zeros(count, bool)
            visible[frames] = True
            self.bits[self._starts[i]:self._starts[i + 1]] = np.packbits(visible)

    def window(self, i: int, start: int, frames: int) -> slice | np.ndarray:
        """Rows of utterance i: `frames` visible ones from the `start`-th on; all of them again and again where there
        are fewer."""
        count = int(self.counts[i])
        if count >= frames and not self.bits.size:
            return slice(start, start + frames)
        rows = self._rows(i)
        return rows[start:start + frames] if count >= frames else np.resize(rows, frames)

    def _rows(self, i: int) -> np.ndarray:
        if not self.bits.size:
            return np.arange(self.counts[i])
        return np.flatnonzero(np.unpackbits(self.bits[self._starts[i]:self._starts[i + 1]]))
