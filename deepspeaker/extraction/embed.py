"""Utterances -> embeddings (E,) of unit length.

The features of a block of utterances lie one after another in one tensor on the device. What the network sees of them
is picked from there by index arithmetic, in padded batches: a GPU is given few things to do, and nothing waits for it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepspeaker.config import Config, EmbeddingConfig
from deepspeaker.datadir.archive import Stored
from deepspeaker.extraction.fbank import normalize
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.extraction.gpu_archive import as_tensor, decompress
from deepspeaker.gpu import Download, full_float32, upload
from deepspeaker.models.base import Network
from deepspeaker.models.padding import Ends, clear, padded_length
from deepspeaker.models.pooling import mean, statistics


class Sizes(NamedTuple):
    """How much of a set is embedded together."""

    utterances: int  # of a block
    frames: int  # of a padded batch at most, unless one utterance has more


SIZES = {"cpu": Sizes(32, 4000),  # what stays in the cache
         "cuda": Sizes(512, 200_000)}  # keeps a large GPU busy, and takes some GB of its memory
MOST_FRAMES = 1_000_000  # of a block, unless one utterance has more: with 64 mel bins 0.3 GB, of which there are copies
FEWEST_FRAMES = 5000  # of a batch that is halved because a GPU has no memory for it


def sizes(device: torch.device) -> Sizes:
    return SIZES.get(device.type, SIZES["cpu"])


class Look(NamedTuple):
    """One input of the network: `frames` frames of an utterance from `start` on; behind its end it begins again."""

    utterance: int
    start: int
    frames: int


class Block(NamedTuple):
    """Features of utterances on a device."""

    values: Tensor  # (sum of the counts, F), one utterance after another
    counts: list[int]  # frames of each
    at_once: int  # frames of a padded batch, as in Sizes


def as_seen(features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """Features (..., T, F), as computed, of whole utterances of one length -> what the network sees, (..., T', F).

    mode: [features] normalize, here over the whole utterance. One below min_frames is repeated to that length.
    """
    size = features.shape[-2]
    longest = torch.sym_max(size, config.min_frames)
    rows = torch.arange(longest, device=features.device)
    return normalize(features, mode)[..., rows % torch.full_like(rows, size), :]


def embed(network: Network, features: Tensor, mode: str, config: EmbeddingConfig) -> Tensor:
    """The embedding (E,) of unit length of an utterance's features (T, F), see embed_together."""
    return embed_together(network, [features], mode, config)[0]


def embed_together(network: Network, utterances: Sequence[Tensor], mode: str,
                   config: EmbeddingConfig) -> list[Tensor]:
    """Embeddings (E,) of unit length of features (T, F) of any lengths, all on one device.

    mode: [features] normalize, over the whole utterance. With crops = 0, and for an utterance of at most crop_frames
    frames, the network sees the whole utterance, repeated to min_frames if it is shorter. Otherwise the embedding is
    the mean, scaled to unit length, of those of crops of crop_frames frames: evenly spaced, rounded down to whole
    frames, from the first to the last frame; a single crop is the middle.
    """
    if not utterances:
        return []
    values = torch.cat(list(utterances))
    block = Block(values, [len(features) for features in utterances], sizes(values.device).frames)
    return list(_embed_in_memory(network, block, mode, config)[0])


def embed_set(network: Network, features: FeatureSet, which: Sequence[int] | np.ndarray, config: Config,
              device: torch.device) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance, embedding (E,) float32) of the positions `which` of a FeatureSet, in their order.

    Blocks of the device's SIZES are embedded together; the last bits of an embedding depend on the others of its block.
    A block's embeddings are fetched when the next block is on its way.
    """
    size, at_once = sizes(device)
    coming: list[tuple[np.ndarray, Download]] = []
    for some in _pieces(features, np.asarray(which, np.int64), size):
        block = _on_device(features.stored(some), device, at_once)
        found, at_once = _embed_in_memory(network, block, config.features.normalize, config.embedding)
        coming.append((some, Download(found)))
        if len(coming) > 1:
            yield from _arrived(features, *coming.pop(0))
    for last in coming:
        yield from _arrived(features, *last)


def _pieces(features: FeatureSet, which: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Blocks of `size` utterances, each cut where it would have more than MOST_FRAMES frames."""
    for block in np.split(which, range(size, len(which), size)):
        start, frames = 0, 0
        for end, count in enumerate(features.counts(block).tolist()):
            if end > start and frames + count > MOST_FRAMES:
                yield block[start:end]
                start, frames = end, 0
            frames += count
        if block.size:
            yield block[start:]


def _arrived(features: FeatureSet, which: np.ndarray, download: Download) -> Iterator[tuple[str, np.ndarray]]:
    embeddings = download.read().numpy().copy()  # so that pinned memory is free for the next
    for i, embedding in zip(which.tolist(), embeddings, strict=True):
        yield features.utterances[i], embedding


@torch.inference_mode()
def _on_device(stored: Stored, device: torch.device, at_once: int) -> Block:
    numbers = as_tensor(stored.rows), torch.from_numpy(stored.minimum), torch.from_numpy(stored.step)
    rows, minimum, step = upload(numbers, device)
    owner = _owner(stored.counts.tolist(), device)
    return Block(decompress(rows, minimum[owner, None], step[owner, None]), stored.counts.tolist(), at_once)


def _embed_in_memory(network: Network, block: Block, mode: str, config: EmbeddingConfig) -> tuple[Tensor, int]:
    """The embeddings (n, E) of a block, see embed_together, and the frames of its batches. Where a GPU has no memory
    for batches of block.at_once, they are halved until it has."""
    while True:
        try:
            return _embed(network, block, mode, config), block.at_once
        except torch.OutOfMemoryError:
            if block.at_once <= FEWEST_FRAMES:
                raise
        block = block._replace(at_once=block.at_once // 2)


@torch.inference_mode()
def _embed(network: Network, block: Block, mode: str, config: EmbeddingConfig) -> Tensor:
    looks = [look for i, count in enumerate(block.counts) for look in _looks(i, count, config)]
    normalised = block._replace(values=_normalised(block, mode))
    with full_float32:
        found = _in_batches(network, normalised, looks)
    return found if len(looks) == len(block.counts) else _means(found, looks)


def _looks(i: int, count: int, config: EmbeddingConfig) -> list[Look]:
    """What the network sees of utterance number i of `count` frames."""
    room = count - config.crop_frames
    if config.crops == 0 or room <= 0:
        return [Look(i, 0, max(count, config.min_frames))]
    last = config.crops - 1
    starts = [n * room // last for n in range(config.crops)] if last else [room // 2]
    return [Look(i, start, config.crop_frames) for start in starts]


def _normalised(block: Block, mode: str) -> Tensor:
    """The values of a block as `normalize` makes them, each utterance on its own."""
    if mode == "none":
        return block.values
    whole = [Look(i, 0, count) for i, count in enumerate(block.counts)]
    found = _in_batches(mean if mode == "mean" else statistics, block, whole)
    parts: list[Tensor] = list(found[_owner(block.counts, found.device)].split(block.values.shape[1], dim=1))
    average, *deviation = parts
    return (block.values - average) / deviation[0] if deviation else block.values - average


def _owner(counts: Sequence[int], device: torch.device) -> Tensor:
    """For each frame of a block, the number of its utterance."""
    numbers, repeats = upload((torch.arange(len(counts)), torch.tensor(counts)), device)
    owner: Tensor = torch.repeat_interleave(numbers, repeats, output_size=sum(counts))
    return owner


def _in_batches(function: Callable[[Tensor, Ends], Tensor], block: Block, looks: Sequence[Look]) -> Tensor:
    """function(batch (B, T, F), its ends) -> (B, D), of all looks in padded batches of similar length: (len(looks), D)
    in their order."""
    order = sorted(range(len(looks)), key=lambda i: -looks[i].frames)
    found, start = [], 0
    while start < len(order):
        count = max(1, block.at_once // looks[order[start]].frames)
        found.append(function(*_padded(block, [looks[i] for i in order[start:start + count]])))
        start += count
    return torch.cat(found)[upload(torch.tensor(order).argsort(), block.values.device)]


def _padded(block: Block, looks: Sequence[Look]) -> tuple[Tensor, Ends]:
    """Looks as one batch (B, T, F) with zeros behind each, and where they end."""
    values, counts, _ = block
    first = list(accumulate(counts, initial=0))
    frames = [look.frames for look in looks]
    padded = padded_length(max(frames))
    table = torch.tensor([(first[i], counts[i], start, size) for i, start, size in looks])
    table = upload(table, values.device)
    begin, count, start, _ = table.unsqueeze(1).unbind(2)
    index = begin + (start + torch.arange(padded, device=values.device)) % count
    batch = values.index_select(0, index.flatten()).view(len(looks), padded, -1)
    ends = Ends(frames, padded, table[:, 3])
    return clear(batch, ends, 1), ends


def _means(embeddings: Tensor, looks: Sequence[Look]) -> Tensor:
    """Embeddings of looks, which lie utterance by utterance -> the mean of each utterance, scaled to unit length."""
    counts = torch.tensor([look.utterance for look in looks]).bincount()
    place = torch.arange(int(counts.max()))
    index = (counts.cumsum(0) - counts).unsqueeze(1) + torch.minimum(place, counts.unsqueeze(1) - 1)
    index, used = upload((index, place < counts.unsqueeze(1)), embeddings.device)
    return F.normalize((embeddings[index] * used.unsqueeze(2)).sum(1), dim=1)
