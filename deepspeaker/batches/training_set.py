"""Batches of P speakers x K utterances x T frames: who is drawn, which of their frames, and a step ahead."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepspeaker.batches.feature_windows import FeatureWindows
from deepspeaker.batches.needs import counts_at_speeds
from deepspeaker.batches.plan import draw_plan
from deepspeaker.batches.sound_bank import SoundBank
from deepspeaker.batches.sound_windows import SoundWindows
from deepspeaker.batches.speed import Speeds
from deepspeaker.batches.visible_frames import VisibleFrames
from deepspeaker.config import AugmentConfig, BatchConfig, FeatureConfig
from deepspeaker.datadir import read_table
from deepspeaker.errors import UserError
from deepspeaker.extraction.feature_set import FeatureSet, FrameSet, SoundSet
from deepspeaker.gpu import in_use, upload
from deepspeaker.losses.labels import Labels

RESIDENT = 0.75  # of the free memory; the rest is for the optimizer's state and for the development set


class Batch(NamedTuple):
    features: Tensor  # (B, T, F) float32, not normalised; of several processes, the windows of this one
    labels: Labels  # of all windows: positions in TrainingSet.speakers and in TrainingSet.features.utterances
    masks: tuple[Tensor, ...] = ()  # what is hidden of the normalised features (masking.py)


class TrainingSet:
    """The utterances of a data directory by speaker.

    speakers: sorted names of the speakers that have features, and behind them the same at other speeds. A speaker of
    fewer than `min_utterances` utterances is never drawn but keeps its place in the list.
    augment: where it says `online`, windows are cut from sound and changed, with what the folder `sounds` holds
    (sound_bank.py); otherwise, or where it is None, windows are cut from feature archives.
    """

    def __init__(self, directory: str | os.PathLike[str], features: FeatureConfig, min_utterances: int = 1,
                 augment: AugmentConfig | None = None, sounds: Path | None = None):
        self._augment = augment if augment and augment.online else None
        self.features: FrameSet = (SoundSet if self._augment else FeatureSet)(directory, features)
        utt2spk = read_table(Path(directory) / "utt2spk")
        by_speaker: dict[str, list[int]] = {}
        for i, utterance in enumerate(self.features.utterances):
            if utterance not in utt2spk:
                raise UserError(f"{directory}: {utterance} is in {self.features.path.name} and not in utt2spk")
            by_speaker.setdefault(utt2spk[utterance], []).append(i)
        names = sorted(by_speaker)
        self._order = np.array([i for speaker in names for i in by_speaker[speaker]])
        self._counts = np.array([len(by_speaker[speaker]) for speaker in names])
        self._begin = self._counts.cumsum() - self._counts  # where a speaker's utterances begin in _order
        speeds, chance = (self._augment.speeds, self._augment.speed) if self._augment else ([], 0.0)
        self._speeds = Speeds(speeds, chance)
        self.speakers = self._speeds.names(names)
        self.counts = np.array(counts_at_speeds(self._counts.tolist(), len(speeds), chance))  # of each of `speakers`
        self._eligible = np.flatnonzero(self.counts >= min_utterances)
        self._visible = VisibleFrames(self.features, features.vad)
        self.windows: FeatureWindows | SoundWindows
        self.bank = SoundBank(sounds, self._augment.sounds_needed if self._augment else (), features.sample_rate)
        if isinstance(self.features, SoundSet):
            self.windows = SoundWindows(self.features, features, self.bank, self._speeds.factors)
        else:
            self.windows = FeatureWindows(self.features)
        self._left_gpu = False
        self.stream: torch.cuda.Stream | None = None  # of a GPU, for its batches; PyTorch keeps memory for each stream

    def place(self, device: torch.device) -> str:
        """Copy the archives to a GPU, if they fit into RESIDENT of its free memory, and draw from there from now on;
        returns where windows are read from, for the log. To be called when PyTorch has taken the memory that a step
        needs (rehearsal.py)."""
        mapped = f"mapped {self.windows.what}"
        self.windows.use(device)
        if device.type != "cuda":
            return mapped
        # Fourier transforms on a stream beside that of the training read memory that is not theirs (CUDA 13.0)
        beside = isinstance(self.windows, FeatureWindows)
        self.stream = torch.cuda.Stream(device) if beside else torch.cuda.current_stream(device)
        size, free = self.windows.bytes(), torch.cuda.mem_get_info(device)[0]
        if size is None or size > RESIDENT * free or self._left_gpu:
            return mapped
        try:
            self.upload(device)
        except torch.OutOfMemoryError:  # another program was faster
            return mapped
        self.stream.wait_stream(torch.cuda.current_stream(device))
        return f"{self.windows.what} in GPU memory, {size / 2 ** 30:.1f} GiB"

    def batches(self, draw: Callable[[int], Batch], steps: range) -> "Batches":
        """What `draw` gives for each of the steps. Windows of sound that CPU threads change are drawn by them between
        two steps: beside them, a thread that computes as much as this would hold up training."""
        computed = isinstance(self.windows, SoundWindows) and not self.stream and torch.get_num_threads() > 1
        return Batches(draw, steps, self.stream, ahead=not computed)

    def upload(self, device: torch.device) -> None:
        """Copy the archives to the memory of `device` and draw from there."""
        self.windows.upload(device)

    def leave_gpu(self) -> bool:
        """Free the GPU memory that the archives take, for good, and draw from mapped archives; False where they take
        none."""
        self._left_gpu = True
        return self.windows.leave_gpu()

    def draw(self, rng: np.random.Generator, config: BatchConfig, part: slice = slice(None), check: bool = False
             ) -> Batch:
        """A batch of speakers x utterances windows, all of one length between min_frames and max_frames: the features
        on the GPU where the archives are there or windows are changed, labels on the CPU, no masks. There must be
        enough speakers (needs.py).

        No speaker is drawn twice. A speaker with fewer utterances than asked for gives some of them twice, in
        different windows. All windows of an utterance's visible frames (FrameSet.frames) are equally likely; an
        utterance shorter than the window is repeated to its length. part: which of the windows to gather; the labels
        are always those of all windows. check: UserError for a change of sound that makes values that are not finite.
        """
        frames = int(rng.integers(config.min_frames, config.max_frames, endpoint=True))
        drawn = self._draw_speakers(rng, config)
        speaker = drawn % len(self._counts)
        places = _choose(rng, self._counts[speaker], config.utterances)
        chosen = self._order[self._begin[speaker, None] + places].ravel()
        speed = (drawn // len(self._counts)).repeat(config.utterances)
        counts, needed = self._visible.counts(chosen), self.windows.frames_needed(frames)[speed]
        starts = rng.integers(np.maximum(0, counts - needed), endpoint=True)
        laid_out = part if isinstance(self.windows, FeatureWindows) else slice(None)  # sound: widths are of the batch
        index = [self._visible.window(i, start, size, count) for i, start, size, count in
                 zip(*(values[laid_out].tolist() for values in (chosen, starts, needed, counts)), strict=True)]
        if isinstance(self.windows, FeatureWindows):
            features = self.windows.gather(chosen[part], index)
        else:
            assert self._augment
            plan = draw_plan(rng, speed, self._augment)
            features = self.windows.gather(chosen, index, frames, plan, part, check)
        labels = Labels.of(torch.from_numpy(drawn.repeat(config.utterances)), torch.from_numpy(chosen))
        return Batch(features, labels)

    def _draw_speakers(self, rng: np.random.Generator, config: BatchConfig) -> np.ndarray:
        """Positions (P,) in `speakers`, none twice."""
        weight = self.counts if config.speaker_weight == "utterances" else np.ones(len(self.counts))
        weight = (weight * self._speeds.weights.repeat(len(self._counts)))[self._eligible]
        even = config.speaker_weight == "even" and len(self._speeds.factors) == 1
        return rng.choice(self._eligible, config.speakers, replace=False, p=None if even else weight / weight.sum())


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


class Batches:
    """The batches of `steps`, each drawn while the network trains on the one before, by a thread that computes on one
    core: more would take turns with those that train, which costs both more than it gains.

    ahead: False to draw a batch by all threads, and when it is its turn. stream: of a GPU, which copies and gathers the
    batches on it, beside the training step or, if it is the default one, before the next; None on a CPU. waited:
    seconds that the training loop waited for batches. The GPU may still have been busy then.
    """

    def __init__(self, draw: Callable[[int], Batch], steps: range, stream: torch.cuda.Stream | None,
                 ahead: bool = True):
        self._draw, self._steps, self._stream, self._ahead, self.waited = draw, steps, stream, ahead, 0.0

    def _prepare(self, step: int) -> Batch:
        if not self._stream:
            return self._draw(step)
        torch.cuda.set_device(self._stream.device)  # a new thread begins with GPU 0
        with torch.cuda.stream(self._stream):
            batch = upload(self._draw(step), self._stream.device)
        if self._stream != torch.cuda.default_stream(self._stream.device):
            self._stream.synchronize()
        return batch

    def __iter__(self) -> Iterator[Batch]:
        batches = self._prepared_ahead() if self._ahead else map(self._prepare, self._steps)
        start = time.monotonic()
        for batch in batches:
            self.waited += time.monotonic() - start
            in_use(batch)
            yield batch
            start = time.monotonic()

    def _prepared_ahead(self) -> Iterator[Batch]:
        torch.set_num_threads(torch.get_num_threads())  # of this thread: else the next line may change it, too
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as thread:
            coming = thread.submit(self._prepare, self._steps[0])
            for step in self._steps:
                batch = coming.result()
                if step != self._steps[-1]:
                    coming = thread.submit(self._prepare, step + 1)
                yield batch
