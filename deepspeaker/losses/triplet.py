"""Triplet loss on cosine similarity (Li et al., Deep Speaker, arXiv 1705.02304, equation 8)."""

import torch
from torch import Tensor, nn

BLOCK = 1 << 23  # triplets looked at together: bounds the memory of mining


class Triplet(nn.Module):
    """max(0, s_an - s_ap + margin), mean over the active triplets of the batch.

    A positive pair is two different utterances of one speaker. mining: "semihard" takes for each pair all negatives
    with s_ap - margin < s_an < s_ap.
    """

    def __init__(self, margin: float, mining: str):
        super().__init__()
        self.margin, self.mining = margin, mining

    def forward(self, embeddings: Tensor, speakers: Tensor, utterances: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """embeddings (B, E), speakers (B,), utterances (B,) -> loss, 0 when no triplet is active."""
        return triplet_loss(embeddings, speakers, utterances, self.margin, self.mining)


def triplet_loss(embeddings: Tensor, speakers: Tensor, utterances: Tensor, margin: float,
                 mining: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss is piecewise linear in the cosines, so counting how often each takes part gives value and gradient.

    With c_ij = (active triplets in which s_ij is the negative) - (those in which it is the positive) and n active
    triplets, the mean of s_an - s_ap + margin is sum(c * s) / n + margin. The counts need no gradient and are made
    in blocks of bounded memory.
    """
    cosine = embeddings @ embeddings.T
    other = speakers[:, None] != speakers
    positive = ~other & (utterances[:, None] != utterances)
    counts, active = _count(cosine.detach(), positive, other, margin, MINING[mining])
    total = active.clamp_min(1)
    loss = (counts * cosine).sum() / total + margin * active / total
    considered = (positive.sum(1) * other.sum(1)).sum().clamp_min(1)
    gauges = {"active": active / considered, "same": _mean(cosine, positive), "different": _mean(cosine, other)}
    return loss, gauges


@torch.no_grad()
def _count(cosine: Tensor, positive: Tensor, other: Tensor, margin: float, mine) -> tuple[Tensor, Tensor]:
    """c (B, B) and the number of active triplets."""
    counts, active = torch.zeros_like(cosine), cosine.new_zeros(())
    for anchors, positives in zip(*(index.split(max(1, BLOCK // len(cosine))) for index in positive.nonzero().T),
                                  strict=True):
        same = cosine[anchors, positives][:, None]
        mined = mine(cosine[anchors], same, margin) & other[anchors]
        number = mined.sum(1).to(counts.dtype)
        counts.index_add_(0, anchors, mined.to(counts.dtype))
        counts[anchors, positives] -= number
        active += number.sum()
    return counts, active


def _semihard(different: Tensor, same: Tensor, margin: float) -> Tensor:
    return (different < same) & (different > same - margin)


MINING = {"semihard": _semihard}  # (cosines to all (n, B), to the positive (n, 1), margin) -> taken (n, B)


def _mean(cosine: Tensor, pairs: Tensor) -> Tensor:
    return (cosine.detach() * pairs).sum() / pairs.sum().clamp_min(1)
