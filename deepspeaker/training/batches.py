"""Batches of P speakers x K utterances x T frames, drawn from mapped archives or from archives in GPU memory."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepspeaker.config import BatchConfig, FeatureConfig
from deepspeaker.datadir import read_table
from deepspeaker.errors import UserError
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.training.gpu_archive import Resident, resident_bytes
from deepspeaker.training.visible_frames import VisibleFrames


class Batch(NamedTuple):
    features: Tensor  # (B, T, F) float32, not normalised; of several processes, the windows of this one
    speakers: Tensor  # (B,) position in TrainingSet.speakers
    utterances: Tensor  # (B,) position in TrainingSet.features.utterances


class TrainingSet:
    """The utterances of a data directory by speaker.

    speakers: sorted names of the speakers that have features. A speaker of fewer than `min_utterances` utterances
    is never drawn but keeps its place in the list.
    """

    def __init__(self, directory: str | os.PathLike[str], features: FeatureConfig, min_utterances: int = 1):
        self.features = FeatureSet(directory, features)
        utt2spk = read_table(Path(directory) / "utt2spk")
        by_speaker: dict[str, list[int]] = {}
        for i, utterance in enumerate(self.features.utterances):
            if utterance not in utt2spk:
                raise UserError(f"{directory}: {utterance} is in feats.scp and not in utt2spk")
            by_speaker.setdefault(utt2spk[utterance], []).append(i)
        self.speakers = sorted(by_speaker)
        self._counts = np.array([len(by_speaker[speaker]) for speaker in self.speakers])
        self._order = np.array([i for speaker in self.speakers for i in by_speaker[speaker]])
        self._begin = self._counts.cumsum() - self._counts  # where a speaker's utterances begin in _order
        self._eligible = np.flatnonzero(self._counts >= min_utterances)
        self.features.table.read_at_random()
        self._visible = VisibleFrames(self.features, features.vad)
        self._resident: Resident | None = None
        self._stream: torch.cuda.Stream | None = None

    def place(self, device: torch.device) -> str:
        """Draw batches to `device` from now on; returns where their windows are read from, for the log.

        Archives are copied to a GPU where they fit into half of its free memory; otherwise windows are gathered in
        pinned memory.
        """
        if device.type != "cuda":
            return "mapped archives"
        self._stream = torch.cuda.Stream(device)
        size, free = resident_bytes(self.features.table), torch.cuda.mem_get_info(device)[0]
        if size is None or size > free / 2:
            return "mapped archives"
        self.upload(device)
        return f"archives in GPU memory, {size / 2 ** 30:.1f} GiB"

    def upload(self, device: torch.device) -> None:
        """Copy the archives to the memory of `device` and draw from there."""
        self._resident = Resident(self.features.table, device)

    def draw(self, rng: np.random.Generator, config: BatchConfig, part: slice = slice(None)) -> Batch:
        """A batch of speakers x utterances windows, all of one length between min_frames and max_frames.

        No speaker is drawn twice. A speaker with fewer utterances than asked for gives some of them twice, in
        different windows. All windows of an utterance's visible frames (FeatureSet.frames) are equally likely; an
        utterance shorter than the window is repeated to its length. part: which of the windows to gather; the labels
        are always those of all windows.
        """
        if config.speakers > self._eligible.size:
            raise UserError(f"a batch of {config.speakers} speakers was asked for, {self._eligible.size} of the "
                            f"{len(self.speakers)} have enough utterances: lower the phase's `speakers`")
        frames = int(rng.integers(config.min_frames, config.max_frames, endpoint=True))
        weight = self._counts[self._eligible] if config.speaker_weight == "utterances" else None
        chance = None if weight is None else weight / weight.sum()
        drawn = rng.choice(self._eligible, config.speakers, replace=False, p=chance)
        places = _choose(rng, self._counts[drawn], config.utterances)
        chosen = self._order[self._begin[drawn, None] + places].ravel()
        counts = self._visible.counts(chosen)
        starts = rng.integers(np.maximum(0, counts - frames), endpoint=True)
        index = [self._visible.window(i, start, frames, count) for i, start, count in
                 zip(chosen[part].tolist(), starts[part].tolist(), counts[part].tolist(), strict=True)]
        return Batch(self._gather(chosen[part], index), torch.from_numpy(drawn.repeat(config.utterances)),
                     torch.from_numpy(chosen))

    def _gather(self, which: np.ndarray, index: list[slice | np.ndarray]) -> Tensor:
        """The windows on the batches' device; a GPU gathers them on a stream of its own, beside the training step."""
        if not self._stream:
            return self._windows(which, index)
        with torch.cuda.stream(self._stream):
            windows = self._windows(which, index)
            if not windows.is_cuda:
                windows = windows.pin_memory().to(self._stream.device, non_blocking=True)
        self._stream.synchronize()
        return windows

    def _windows(self, which: np.ndarray, index: list[slice | np.ndarray]) -> Tensor:
        if self._resident:
            return self._resident.gather(which, index)
        return torch.from_numpy(self.features.table.gather(which, index))


def _choose(rng: np.random.Generator, counts: np.ndarray, k: int) -> np.ndarray:
    """(P, k): for each speaker k of the numbers 0..counts-1, each as often as any other, give or take one.

    The numbers beyond whole rounds are drawn without replacement by Floyd's algorithm (Bentley & Floyd, Communications
    of the ACM 1987), whose time does not depend on how many utterances a speaker has.
    """
    rest, chosen = k % counts, np.empty((len(counts), k), np.int64)
    for column in range(k):
        last = counts - rest + column
        drawn = (rng.random(len(counts)) * (last + 1)).astype(np.int64)
        taken = (chosen[:, :column] == drawn[:, None]).any(1)
        sampled = np.where(taken, last, drawn)
        chosen[:, column] = np.where(column < rest, sampled, (column - rest) % counts)
    return chosen


class Ahead:
    """The batches of `steps`, each drawn in a thread while the network trains on the one before.

    waited: seconds that the training loop waited for batches. The GPU may still have been busy then.
    """

    def __init__(self, draw: Callable[[int], Batch], steps: range):
        self._draw, self._steps, self.waited = draw, steps, 0.0

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(self._draw, self._steps[0])
            for step in self._steps:
                start = time.monotonic()
                batch = coming.result()
                self.waited += time.monotonic() - start
                if step != self._steps[-1]:
                    coming = thread.submit(self._draw, step + 1)
                if batch.features.is_cuda:  # made on another stream
                    batch.features.record_stream(torch.cuda.current_stream())
                yield batch
