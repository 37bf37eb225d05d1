"""Batches of P speakers x K utterances x T frames, drawn from mapped archives."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepspeaker.command import UserError
from deepspeaker.config import BatchConfig, FeatureConfig
from deepspeaker.datadir import read_table
from deepspeaker.dataset import FeatureSet


class Batch(NamedTuple):
    features: Tensor  # (B, T, F) float32, as computed: not normalised
    speakers: Tensor  # (B,) position in TrainingSet.speakers
    utterances: Tensor  # (B,) position in TrainingSet.features.utterances


class TrainingSet:
    """The utterances of a data directory by speaker.

    speakers: sorted names of the speakers that have features. A speaker of fewer than `min_utterances` utterances
    is never drawn but keeps its place in the list.
    """

    def __init__(self, directory: str | os.PathLike, features: FeatureConfig, min_utterances: int = 1):
        self.features = FeatureSet(directory, features)
        utt2spk = read_table(Path(directory) / "utt2spk")
        by_speaker: dict[str, list[int]] = {}
        for i, utterance in enumerate(self.features.utterances):
            if utterance not in utt2spk:
                raise UserError(f"{directory}: {utterance} is in feats.scp and not in utt2spk")
            by_speaker.setdefault(utt2spk[utterance], []).append(i)
        self.speakers = sorted(by_speaker)
        self._utterances = [np.array(by_speaker[speaker]) for speaker in self.speakers]
        self._counts = np.array([len(utterances) for utterances in self._utterances])
        self._eligible = np.flatnonzero(self._counts >= min_utterances)

    def draw(self, rng: np.random.Generator, speakers: int, utterances: int, config: BatchConfig) -> Batch:
        """A batch of speakers x utterances windows, all of one length between min_frames and max_frames.

        No speaker comes twice. A speaker with fewer utterances than asked for gives some of them twice, in
        different windows. Any window of the frames that FeatureSet.frames allows is as likely as any other; an
        utterance shorter than the window is repeated to its length.
        """
        if speakers > self._eligible.size:
            raise UserError(f"a batch of {speakers} speakers was asked for, {self._eligible.size} of the "
                            f"{len(self.speakers)} have enough utterances: lower the phase's `speakers`")
        frames = int(rng.integers(config.min_frames, config.max_frames, endpoint=True))
        weight = self._counts[self._eligible] if config.speaker_weight == "utterances" else None
        chance = None if weight is None else weight / weight.sum()
        drawn = rng.choice(self._eligible, speakers, replace=False, p=chance)
        chosen = np.concatenate([_choose(rng, self._utterances[speaker], utterances) for speaker in drawn])
        windows = np.stack([self._window(rng, i, frames) for i in chosen])
        return Batch(torch.from_numpy(windows), torch.from_numpy(drawn.repeat(utterances)), torch.from_numpy(chosen))

    def _window(self, rng: np.random.Generator, utterance: int, frames: int) -> np.ndarray:
        index = self.features.frames(utterance)
        if index.size < frames:
            index = np.resize(index, frames)
        else:
            start = int(rng.integers(index.size - frames, endpoint=True))
            index = index[start:start + frames]
        return self.features.rows(utterance, index)


def _choose(rng: np.random.Generator, utterances: np.ndarray, count: int) -> np.ndarray:
    """`count` of the utterances in random order, each as often as any other, give or take one."""
    rounds = [rng.permutation(utterances) for _ in range(-(-count // utterances.size))]
    return np.concatenate(rounds)[:count]
