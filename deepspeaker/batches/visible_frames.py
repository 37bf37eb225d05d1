"""Which frames of each utterance a network may see: with VAD the voiced ones, kept as one bit per frame."""

import numpy as np

from deepspeaker.extraction.feature_set import FrameSet


class VisibleFrames:
    """FrameSet.frames, kept as one bit per frame for every utterance that was asked for.

    vad False: all frames are visible, and nothing is kept.
    """

    def __init__(self, features: FrameSet, vad: bool):
        self._features, self._vad = features, vad
        self._counts = np.full(len(features), -1)
        self._bits: dict[int, bytes] = {}

    def counts(self, which: np.ndarray) -> np.ndarray:
        """Number of visible frames (n,) of each of the utterances."""
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
        """The rows of a window of utterance i: `frames` of its visible frames from number `start` on; where there are
        fewer, all of them, repeated. count: how many there are, as `counts` returned it."""
        if self._vad:
            rows = np.flatnonzero(np.unpackbits(np.frombuffer(self._bits[i], np.uint8)))
        elif count >= frames:
            return slice(start, start + frames)
        else:
            rows = np.arange(count)
        return rows[start:start + frames] if count >= frames else np.resize(rows, frames)
