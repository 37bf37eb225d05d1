"""Utterances -> embeddings (E,) of unit length."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepspeaker.config import Config, EmbeddingConfig
from deepspeaker.extraction.fbank import normalize
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.models.base import Network
from deepspeaker.models.padding import pad

BATCH = 4000  # frames of a padded batch at most, unless one utterance has more: what stays in the cache of a CPU
UTTERANCES_AT_ONCE = 32  # utterances of a set that are embedded together


def as_seen(features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """Features (..., T, F), as computed, of whole utterances of one length -> what the network sees, (..., T', F).

    mode: [features] normalize, here over the whole utterance. One below min_frames is repeated to that length.
    """
    size = features.shape[-2]
    longest = torch.sym_max(size, config.min_frames)
    rows = torch.arange(longest, device=features.device)
    return normalize(features, mode)[..., rows % torch.full_like(rows, size), :]


def inputs(features: Tensor, mode: str, config: EmbeddingConfig) -> list[Tensor]:
    """Features (T, F) of an utterance -> the inputs of the network whose embeddings are averaged, all of one length.

    With crops = 0, and for an utterance of at most crop_frames frames, the one input is the whole utterance, see
    as_seen. Otherwise the inputs are crops (crop_frames, F) of the features normalised over the whole utterance. They
    are evenly spaced, rounded down to whole frames, from its first to its last frame; a single crop is its middle.
    """
    room = len(features) - config.crop_frames
    if config.crops == 0 or room <= 0:
        return [as_seen(features, mode, config)]
    last = config.crops - 1
    starts = [n * room // last for n in range(config.crops)] if last else [room // 2]
    normalised = normalize(features, mode)
    return [normalised[start:start + config.crop_frames] for start in starts]


def average(embeddings: Tensor) -> Tensor:
    """Embeddings (N, E) of an utterance's inputs -> their mean (E,), scaled to unit length; of one, itself."""
    return embeddings[0] if len(embeddings) == 1 else F.normalize(embeddings.mean(0), dim=0)


@torch.inference_mode()
def embed(network: Network, features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """The embedding (E,) of unit length of an utterance's features (T, F), see `inputs`."""
    return average(network(torch.stack(inputs(features, mode, config))))


@torch.inference_mode()
def embed_together(network: Network, utterances: Sequence[Tensor], mode: str,
                   config: EmbeddingConfig) -> list[Tensor]:
    """Embeddings (E,) as `embed` gives them, of features (T, F) of any lengths, in padded batches of similar length."""
    parts = [inputs(features, mode, config) for features in utterances]
    embeddings = iter(_embed_padded(network, [seen for part in parts for seen in part]))
    return [average(torch.stack([next(embeddings) for _ in part])) for part in parts]


def _embed_padded(network: Network, seen: Sequence[Tensor]) -> list[Tensor]:
    """The embedding (E,) of each input (T, F) of the network, in padded batches of similar length."""
    found: dict[int, Tensor] = {}
    order = sorted(range(len(seen)), key=lambda i: -len(seen[i]))
    while order:
        count = max(1, BATCH // len(seen[order[0]]))
        batch, order = order[:count], order[count:]
        found |= zip(batch, network(*pad([seen[i] for i in batch])), strict=True)
    return [found[i] for i in range(len(seen))]


@torch.inference_mode()
def embed_set(network: Network, features: FeatureSet, which: Sequence[int] | np.ndarray, config: Config,
              device: torch.device) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance, embedding (E,) float32) of the positions `which` of a FeatureSet, in their order.

    UTTERANCES_AT_ONCE are embedded together; the last bits of an embedding depend on the others of its block.
    """
    for start in range(0, len(which), UTTERANCES_AT_ONCE):
        block = which[start:start + UTTERANCES_AT_ONCE]
        rows = [torch.from_numpy(features.rows(i, features.frames(i))).to(device) for i in block]
        found = embed_together(network, rows, config.features.normalize, config.embedding)
        yield from ((features.utterances[i], e.cpu().numpy()) for i, e in zip(block, found, strict=True))
