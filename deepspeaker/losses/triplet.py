"""Triplet loss on cosine similarity (Li et al., Deep Speaker, arXiv 1705.02304, equation 8)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepspeaker.losses.labels import Labels

COSINES_AT_ONCE = 1 << 18  # mined together: as many fit into a processor's cache
COSINES_ON_GPU = 1 << 24  # mined together on a GPU, where each piece costs launches: bounds the memory, 64 MiB a copy


class TripletArguments(NamedTuple):
    """The arguments of Triplet at a step."""

    margin: float  # of the cosines
    mining: str  # a name of MINING


def mining_at(epoch: int, mining: str, schedule: Sequence[str]) -> str:
    """The mining in an epoch, counted from 1: that of the last line `EPOCH MINING` of the schedule whose epoch has
    begun; before the first line it is `mining`."""
    for line in schedule:
        first, name = line.split()
        if epoch >= int(first):
            mining = name
    return mining


class Triplet(nn.Module):
    """triplet_loss as a module. It has no weights, and needs neither number of speakers nor embedding_dim."""

    def __init__(self, num_speakers: int, embedding_dim: int):
        super().__init__()

    def forward(self, embeddings: Tensor, labels: Labels,
                arguments: TripletArguments) -> tuple[Tensor, dict[str, Tensor]]:
        """triplet_loss with the arguments' margin and mining."""
        return triplet_loss(embeddings, labels, *arguments)


def triplet_loss(embeddings: Tensor, labels: Labels, margin: float, mining: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Pulls same-speaker cosines above different-speaker cosines by at least the margin: the mean of
    max(0, s_an - s_ap + margin) over the active triplets of the batch; 0 when there is none.

    embeddings (B, E) of unit length. A triplet is an anchor a, a positive p (another
    utterance of the same speaker) and a negative n (another speaker), with the cosines s_ap and s_an. mining names the
    negatives that each pair of anchor and positive meets: "all"; "semihard", those with s_ap - margin < s_an < s_ap;
    "hard", the one with the highest s_an. A triplet is active if its term is above 0. The gauge `active` is the share
    of active triplets, among all triplets or, with "hard", among those of the hardest negatives.

    The loss is piecewise linear in the cosines, so counts give its value and gradient. With c_ij = (active triplets in
    which s_ij is the negative) - (those in which it is the positive), n active triplets and embeddings e, the mean of
    s_an - s_ap + margin is sum(c * s) / n + margin, and its gradient is (c + c^T) e / n.
    """
    with torch.no_grad():
        counts, active = _count(embeddings @ embeddings.T, labels, margin, mining)
        total = active.clamp_min(1)
        gradient = (counts + counts.T) @ embeddings / total
        value = (gradient * embeddings).sum() / 2 + margin * active / total
    loss = (gradient * embeddings).sum()
    considered = labels.pairs if mining == "hard" else labels.triplets
    return loss - loss.detach() + value, {"active": active / max(1, considered)}


def _count(cosine: Tensor, labels: Labels, margin: float, mining: str) -> tuple[Tensor, Tensor]:
    """c (B, B), and the number of active triplets."""
    counts = torch.empty_like(cosine)
    active = torch.zeros((), dtype=torch.int64, device=cosine.device)
    at_once = max(1, (COSINES_ON_GPU if cosine.is_cuda else COSINES_AT_ONCE) // len(cosine))
    for start in range(0, len(cosine), at_once):
        rows = slice(start, start + at_once)
        positives = labels.positives[rows]
        own = labels.speakers[rows, None] == labels.speakers
        different = cosine[rows].masked_fill(own, -torch.inf)
        same = cosine[rows].gather(1, positives).masked_fill_(~labels.paired[rows], torch.inf)
        negatives, taken = MINING[mining](different, same, margin)
        counts[rows] = negatives.scatter_(1, positives, -taken)  # a positive is no negative: its place holds 0
        active = active + taken.sum(dtype=torch.int64)
    return counts, active


# A mining function takes the cosines of n anchors: to all of the batch (n, B), -inf where that is no negative, and to
# the positives (n, K), filled up with inf. It returns the number of active triplets that each negative (n, B) and each
# positive (n, K) is part of. These are whole numbers below 2^24 as floats: comparing into floats is faster than into
# booleans.

def _all(different: Tensor, same: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    return _between(different, same - margin, torch.full_like(same, torch.inf))


def _semihard(different: Tensor, same: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    return _between(different, same - margin, same)


def _between(different: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    negatives, taken = torch.zeros_like(different), torch.zeros_like(low)
    above, below = torch.empty_like(different), torch.empty_like(different)
    for k in range(low.shape[1]):
        torch.gt(different, low[:, k, None], out=above)
        above *= torch.lt(different, high[:, k, None], out=below)
        negatives += above
        taken[:, k] = above.sum(1)
    return negatives, taken


def _hard(different: Tensor, same: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    hardest, place = different.max(1, keepdim=True)
    taken = (hardest > same - margin).to(different.dtype)
    return torch.zeros_like(different).scatter_(1, place, taken.sum(1, keepdim=True)), taken


MINING = {"all": _all, "semihard": _semihard, "hard": _hard}
