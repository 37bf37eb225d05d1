"""Triplet loss on cosine similarity (Li et al., Deep Speaker, arXiv 1705.02304, equation 8)."""

import torch
from torch import Tensor, nn

BLOCK = 1 << 18  # cosines looked at together: bounds the memory of mining, and a block stays in a processor's cache


class Triplet(nn.Module):
    """triplet_loss as a module without weights, as LOSSES has them."""

    def forward(self, embeddings: Tensor, speakers: Tensor, utterances: Tensor, *, margin: float,
                mining: str) -> tuple[Tensor, dict[str, Tensor]]:
        return triplet_loss(embeddings, speakers, utterances, margin, mining)


def triplet_loss(embeddings: Tensor, speakers: Tensor, utterances: Tensor, margin: float,
                 mining: str) -> tuple[Tensor, dict[str, Tensor]]:
    """max(0, s_an - s_ap + margin), mean over the active triplets of the batch; 0 when there is none.

    embeddings (B, E) of length one, speakers (B,), utterances (B,). A positive pair is two different utterances of
    one speaker; mining says which negatives it meets: "all", "semihard" those with s_ap - margin < s_an < s_ap, "hard"
    the one with the highest cosine. Active are triplets whose term is above 0; the gauge is their share.

    The loss is piecewise linear in the cosines, so counting how often each takes part gives value and gradient:
    with c_ij = (active triplets in which s_ij is the negative) - (those in which it is the positive) and n active
    triplets, the mean of s_an - s_ap + margin is sum(c * s) / n + margin, and its gradient (c + c^T) e / n. The
    counts are made in blocks of bounded memory.
    """
    with torch.no_grad():
        counts, active, considered = _count(embeddings @ embeddings.T, speakers, utterances, margin, mining)
        total = active.clamp_min(1)
        gradient = (counts + counts.T) @ embeddings / total
        value = (gradient * embeddings).sum() / 2 + margin * active / total
    loss = (gradient * embeddings).sum()
    return loss - loss.detach() + value, {"active": active / considered.clamp_min(1)}


def _count(cosine: Tensor, speakers: Tensor, utterances: Tensor, margin: float,
           mining: str) -> tuple[Tensor, Tensor, Tensor]:
    """c (B, B), how many triplets are active, and how many there are."""
    counts, active, considered = torch.empty_like(cosine), 0, 0
    for block in torch.arange(len(cosine), device=cosine.device).split(max(1, BLOCK // len(cosine))):
        other = speakers[block, None] != speakers
        anchors, positives = (~other & (utterances[block, None] != utterances)).nonzero(as_tuple=True)
        pairs = torch.bincount(anchors, minlength=len(block))
        place = torch.arange(len(anchors), device=cosine.device) - (pairs.cumsum(0) - pairs)[anchors]
        same = cosine.new_full((len(block), max(1, int(pairs.max()))), torch.inf)
        same[anchors, place] = cosine[block[anchors], positives]
        negatives, taken = MINING[mining](cosine[block].masked_fill_(~other, -torch.inf), same, margin)
        counts[block] = negatives
        counts[block[anchors], positives] -= taken[anchors, place]
        active = active + taken.sum(dtype=torch.int64)
        met = other.any(1) if mining == "hard" else other.sum(1)
        considered = considered + (pairs * met).sum()
    return counts, active, considered


# Mining takes the cosines of n anchors to the negatives (n, B), -inf elsewhere, and to their positives (n, K), filled
# up with inf. It returns how many active triplets each negative (n, B) and each positive (n, K) is in, as floats: they
# are whole numbers below 2^24, and comparing into floats is faster than into booleans.

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
