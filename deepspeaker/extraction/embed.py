"""Utterances -> embeddings (E,) of length one."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from deepspeaker.config import Config, EmbeddingConfig
from deepspeaker.extraction.fbank import normalize
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.models.padding import pad

BATCH = 4000  # frames of a padded batch at most, but for a single utterance: what stays in the cache of a CPU
BLOCK = 32  # utterances of a set that are embedded together


def as_seen(features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """What the network sees of features of utterances of one length (..., T, F), as computed: (..., T', F).

    mode: how they are normalised, here over the whole utterance. One below min_frames is repeated to that length.
    """
    size = features.shape[-2]
    rows = torch.arange(torch.sym_max(size, config.min_frames), device=features.device)
    return normalize(features, mode)[..., rows % torch.full_like(rows, size), :]


@torch.inference_mode()
def embed(network: nn.Module, features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """The embedding (E,) of length one of an utterance's features (T, F), see as_seen."""
    return network(as_seen(features, mode, config).unsqueeze(0)).squeeze(0)


@torch.inference_mode()
def embed_together(network: nn.Module, utterances: Sequence[Tensor], mode: str,
                   config: EmbeddingConfig) -> list[Tensor]:
    """Embeddings (E,) as `embed` has them of features (T, F) of any lengths, in padded batches of similar length."""
    seen = [as_seen(features, mode, config) for features in utterances]
    found: dict[int, Tensor] = {}
    order = sorted(range(len(seen)), key=lambda i: -len(seen[i]))
    while order:
        count = max(1, BATCH // len(seen[order[0]]))
        batch, order = order[:count], order[count:]
        found |= zip(batch, network(*pad([seen[i] for i in batch])), strict=True)
    return [found[i] for i in range(len(seen))]


@torch.inference_mode()
def embed_set(network: nn.Module, features: FeatureSet, which: Sequence[int], config: Config,
              device: torch.device) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance, embedding (E,) float32) of the positions `which` of a FeatureSet, in their order.

    Every BLOCK of them is embedded together: what stands in a block decides of the last bits of its embeddings.
    """
    for start in range(0, len(which), BLOCK):
        block = which[start:start + BLOCK]
        rows = [torch.from_numpy(features.rows(i, features.frames(i))).to(device) for i in block]
        found = embed_together(network, rows, config.features.normalize, config.embedding)
        yield from ((features.utterances[i], e.cpu().numpy()) for i, e in zip(block, found, strict=True))
