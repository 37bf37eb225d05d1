"""Utterances -> embeddings (E,) of length one."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.config import Config, EmbeddingConfig
from deepspeaker.dataset import FeatureSet
from deepspeaker.features import normalize


def embedding_of(model: nn.Module, features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """Features of utterances of one length (..., T, F), as computed, -> their embeddings (..., E) of length one.

    mode: how features are normalised, here over the whole utterance. An utterance of fewer than min_frames frames is
    repeated to that length. crops 0: the network sees all of it at once; otherwise the embeddings of so many evenly
    spaced crops of crop_frames frames are averaged and brought to length one again.
    """
    features, size = normalize(features, mode), features.shape[-2]
    if config.crops == 0:
        rows = torch.arange(torch.sym_max(size, config.min_frames), device=features.device).unsqueeze(0)
    else:
        room = torch.full((config.crops, 1), torch.sym_max(size, config.crop_frames) - config.crop_frames,
                          device=features.device)
        steps = torch.arange(config.crops, device=features.device).unsqueeze(1)
        starts = (steps.double() * room / max(1, config.crops - 1)).round().long()
        rows = starts + torch.arange(config.crop_frames, device=features.device)
    pieces = features[..., rows % torch.full_like(rows, size), :]  # a short utterance again and again
    embeddings = model(pieces.flatten(0, -3)).unflatten(0, pieces.shape[:-2])
    return embeddings.squeeze(-2) if config.crops == 0 else F.normalize(embeddings.mean(-2), dim=-1)


@torch.inference_mode()
def embed(model: nn.Module, features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """As embedding_of, without what gradients need."""
    return embedding_of(model, features, mode, config)


@torch.inference_mode()
def embed_set(model: nn.Module, features: FeatureSet, which: Iterable[int], config: Config,
              device: torch.device) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance, embedding (E,) float32) of the positions `which` of a FeatureSet."""
    for i in which:
        rows = torch.from_numpy(features.rows(i, features.frames(i))).to(device)
        yield features.utterances[i], embed(model, rows, config.features.normalize, config.embedding).cpu().numpy()
