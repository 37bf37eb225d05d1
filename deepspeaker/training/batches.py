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
from deepspeaker.extraction.gpu_archive import Resident, resident_bytes
from deepspeaker.gpu import in_use, upload
from deepspeaker.losses.labels import Labels
from deepspeaker.training.visible_frames import VisibleFrames

RESIDENT = 0.75  # of the free memory; the rest is for the optimizer's state and for the development set


class Batch(NamedTuple):
    features: Tensor  # (B, T, F) float32, not normalised; of several processes, the windows of this one
    labels: Labels  # of all windows: positions in TrainingSet.speakers and in TrainingSet.features.utterances
    masks: tuple[Tensor, ...] = ()  # what is hidden of the normalised features (masking.py)


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
        self.counts = np.array([len(by_speaker[speaker]) for speaker in self.speakers])  # utterances of each
        self._order = np.array([i for speaker in self.speakers for i in by_speaker[speaker]])
        self._begin = self.counts.cumsum() - self.counts  # where a speaker's utterances begin in _order
        self._eligible = np.flatnonzero(self.counts >= min_utterances)
        self.features.table.read_at_random()
        self._visible = VisibleFrames(self.features, features.vad)
        self._resident: Resident | None = None
        self._left_gpu = False
        self.stream: torch.cuda.Stream | None = None  # of a GPU, for its batches; PyTorch keeps memory for each stream

    def place(self, device: torch.device) -> str:
        """Copy the archives to a GPU, if they fit into RESIDENT of its free memory, and draw from there from now on;
        returns where windows are read from, for the log. To be called when PyTorch has taken the memory that a step
        needs (rehearsal.py)."""
        if device.type != "cuda":
            return "mapped archives"
        self.stream = torch.cuda.Stream(device)
        size, free = resident_bytes(self.features.table), torch.cuda.mem_get_info(device)[0]
        if size is None or size > RESIDENT * free or self._left_gpu:
            return "mapped archives"
        try:
            self.upload(device)
        except torch.OutOfMemoryError:  # another program was faster
            return "mapped archives"
        self.stream.wait_stream(torch.cuda.current_stream(device))
        return f"archives in GPU memory, {size / 2 ** 30:.1f} GiB"

    def upload(self, device: torch.device) -> None:
        """Copy the archives to the memory of `device` and draw from there."""
        self._resident = Resident(self.features.table, device)

    def leave_gpu(self) -> bool:
        """Free the GPU memory that the archives take, for good, and draw from mapped archives; False where they take
        none."""
        was_there, self._resident, self._left_gpu = self._resident is not None, None, True
        return was_there

    def draw(self, rng: np.random.Generator, config: BatchConfig, part: slice = slice(None)) -> Batch:
        """A batch of speakers x utterances windows, all of one length between min_frames and max_frames: the features
        on the GPU where the archives are there, labels on the CPU, no masks. There must be enough speakers
        (batch_needs.py).

        No speaker is drawn twice. A speaker with fewer utterances than asked for gives some of them twice, in
        different windows. All windows of an utterance's visible frames (FeatureSet.frames) are equally likely; an
        utterance shorter than the window is repeated to its length. part: which of the windows to gather; the labels
        are always those of all windows.
        """
        frames = int(rng.integers(config.min_frames, config.max_frames, endpoint=True))
        weight = self.counts[self._eligible] if config.speaker_weight == "utterances" else None
        chance = None if weight is None else weight / weight.sum()
        drawn = rng.choice(self._eligible, config.speakers, replace=False, p=chance)
        places = _choose(rng, self.counts[drawn], config.utterances)
        chosen = self._order[self._begin[drawn, None] + places].ravel()
        counts = self._visible.counts(chosen)
        starts = rng.integers(np.maximum(0, counts - frames), endpoint=True)
        index = [self._visible.window(i, start, frames, count) for i, start, count in
                 zip(chosen[part].tolist(), starts[part].tolist(), counts[part].tolist(), strict=True)]
        labels = Labels.of(torch.from_numpy(drawn.repeat(config.utterances)), torch.from_numpy(chosen))
        return Batch(self._windows(chosen[part], index), labels)

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

    stream: of a GPU, which copies and gathers the batches on it, beside the training step; None on a CPU.
    waited: seconds that the training loop waited for batches. The GPU may still have been busy then.
    """

    def __init__(self, draw: Callable[[int], Batch], steps: range, stream: torch.cuda.Stream | None):
        self._draw, self._steps, self._stream, self.waited = draw, steps, stream, 0.0

    def _prepare(self, step: int) -> Batch:
        if not self._stream:
            return self._draw(step)
        torch.cuda.set_device(self._stream.device)  # a new thread begins with GPU 0
        with torch.cuda.stream(self._stream):
            batch = upload(self._draw(step), self._stream.device)
        self._stream.synchronize()
        return batch

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(self._prepare, self._steps[0])
            for step in self._steps:
                start = time.monotonic()
                batch = coming.result()
                self.waited += time.monotonic() - start
                if step != self._steps[-1]:
                    coming = thread.submit(self._prepare, step + 1)
                in_use(batch)
                yield batch
