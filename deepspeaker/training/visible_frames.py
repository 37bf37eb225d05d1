"""Which frames a network may see, of a million utterances in little memory."""

import numpy as np

from deepspeaker.extraction.feature_set import FeatureSet


class VisibleFrames:
    """The frames of FeatureSet.frames, kept as a bit each of the utterances that were asked for.

    vad False: all frames, of which nothing has to be kept.
    """

    def __init__(self, features: FeatureSet, vad: bool):
        self._features, self._vad = features, vad
        self._counts = np.full(len(features), -1)
        self._bits: dict[int, bytes] = {}

    def counts(self, which: np.ndarray) -> np.ndarray:
        """How many frames (n,) of each of the utterances are visible."""
        if not self._vad:
            return self._features.counts(which)
        for i in which[self._counts[which] < 0].tolist():
            frames = self._features.frames(i)
            visible = np.zeros(frames[-1] + 1, bool)
            visible[frames] = True
            self._counts[i], self._bits[i] = frames.size, np.packbits(visible).tobytes()
        found: np.ndarray = self._counts[which]
        return found

    def window(self, i: int, start: int, frames: int, count: int) -> slice | np.ndarray:
        """Rows of utterance i, of which `count` are visible as `counts` said: `frames` of these from the `start`-th on;
        where there are fewer, all of them again and again."""
        if self._vad:
            rows = np.flatnonzero(np.unpackbits(np.frombuffer(self._bits[i], np.uint8)))
        elif count >= frames:
            return slice(start, start + frames)
        else:
            rows = np.arange(count)
        return rows[start:start + frames] if count >= frames else np.resize(rows, frames)
