"""Utterances -> embeddings (E,) of length one."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.config import Config, EmbeddingConfig
from deepspeaker.dataset import FeatureSet
from deepspeaker.features import normalize


@torch.inference_mode()
def embed(model: nn.Module, features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """Features of one utterance (T, F), as computed, -> its embedding (E,) of length one.

    mode: how features are normalised, here over the whole utterance. An utterance of fewer than min_frames frames is
    repeated to that length. crops 0: the network sees all of it at once; otherwise the embeddings of so many evenly
    spaced crops of crop_frames frames are averaged and brought to length one again.
    """
    features = normalize(features, mode)
    if config.crops == 0:
        return model(_repeat(features, config.min_frames).unsqueeze(0)).squeeze(0)
    features = _repeat(features, config.crop_frames)
    starts = np.linspace(0, len(features) - config.crop_frames, config.crops).round().astype(int)
    crops = torch.stack([features[start:start + config.crop_frames] for start in starts])
    return F.normalize(model(crops).mean(0), dim=0)


def _repeat(features: Tensor, frames: int) -> Tensor:
    """(T, F) -> at least `frames` rows: all of them again and again."""
    if len(features) >= frames:
        return features
    return features.repeat(-(-frames // len(features)), 1)[:frames]


def embed_set(model: nn.Module, features: FeatureSet, which: Iterable[int], config: Config,
              device: torch.device) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance, embedding (E,) float32) of the positions `which` of a FeatureSet."""
    for i in which:
        rows = torch.from_numpy(features.rows(i, features.frames(i))).to(device)
        yield features.utterances[i], embed(model, rows, config.features.normalize, config.embedding).cpu().numpy()

