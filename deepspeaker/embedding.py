"""Utterances -> embeddings (E,) of length one."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.config import Config, EmbeddingConfig
from deepspeaker.dataset import FeatureSet
from deepspeaker.features import normalize
from deepspeaker.models.padding import pad

BATCH = 4000  # frames of a padded batch at most, but for a single utterance: what stays in the cache of a CPU
BLOCK = 32  # utterances of a set that are embedded together


def embedding_of(model: nn.Module, features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """Features of utterances of one length (..., T, F), as computed, -> their embeddings (..., E) of length one.

    mode: how features are normalised, here over the whole utterance. An utterance of fewer than min_frames frames is
    repeated to that length. crops 0: the network sees all of it at once; otherwise the embeddings of so many evenly
    spaced crops of crop_frames frames are averaged and brought to length one again.
    """
    pieces = _pieces(normalize(features, mode), config)
    embeddings = model(pieces.flatten(0, -3)).unflatten(0, pieces.shape[:-2])
    return embeddings.squeeze(-2) if config.crops == 0 else F.normalize(embeddings.mean(-2), dim=-1)


def _pieces(features: Tensor, config: EmbeddingConfig) -> Tensor:
    """What the network sees of utterances (..., T, F): (..., N, T', F), N crops or 1."""
    size = features.shape[-2]
    if config.crops == 0:
        rows = torch.arange(torch.sym_max(size, config.min_frames), device=features.device).unsqueeze(0)
    else:
        room = torch.full((config.crops, 1), torch.sym_max(size, config.crop_frames) - config.crop_frames,
                          device=features.device)
        steps = torch.arange(config.crops, device=features.device).unsqueeze(1)
        starts = (steps.double() * room / max(1, config.crops - 1)).round().long()
        rows = starts + torch.arange(config.crop_frames, device=features.device)
    return features[..., rows % torch.full_like(rows, size), :]  # a short utterance again and again


@torch.inference_mode()
def embed(model: nn.Module, features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """As embedding_of, without what gradients need."""
    return embedding_of(model, features, mode, config)


@torch.inference_mode()
def embed_together(model: nn.Module, utterances: Sequence[Tensor], mode: str, config: EmbeddingConfig) -> list[Tensor]:
    """Embeddings (E,) as `embed` has them of features (T, F) of any lengths, in padded batches of similar length."""
    if config.crops:
        return [embedding_of(model, features, mode, config) for features in utterances]
    seen = [_pieces(normalize(features, mode), config).squeeze(0) for features in utterances]
    found: dict[int, Tensor] = {}
    order = sorted(range(len(seen)), key=lambda i: -len(seen[i]))
    while order:
        count = max(1, BATCH // len(seen[order[0]]))
        batch, order = order[:count], order[count:]
        found |= zip(batch, model(*pad([seen[i] for i in batch])), strict=True)
    return [found[i] for i in range(len(seen))]


@torch.inference_mode()
def embed_set(model: nn.Module, features: FeatureSet, which: Sequence[int], config: Config,
              device: torch.device) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance, embedding (E,) float32) of the positions `which` of a FeatureSet, in their order.

    Every BLOCK of them is embedded together: what stands in a block decides of the last bits of its embeddings.
    """
    for start in range(0, len(which), BLOCK):
        block = which[start:start + BLOCK]
        rows = [torch.from_numpy(features.rows(i, features.frames(i))).to(device) for i in block]
        found = embed_together(model, rows, config.features.normalize, config.embedding)
        yield from ((features.utterances[i], e.cpu().numpy()) for i, e in zip(block, found, strict=True))
