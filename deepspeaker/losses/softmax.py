"""Speaker classification: softmax over scaled cosines, plain or with an additive angular margin."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Softmax(nn.Module):
    """A classifier over the training speakers.

    The logit of a speaker is scale * cos(angle between the embedding and the speaker's weight vector); with a margin
    (radians) the true speaker's is scale * cos(angle + margin) (ArcFace, Deng et al. 2019, equation 3), continued
    linearly beyond angle = pi - margin, where the cosine would rise again. margin 0 is the plain softmax.
    """

    def __init__(self, num_speakers: int, embedding_dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_speakers, embedding_dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, embeddings: Tensor, speakers: Tensor, utterances: Tensor, *, margin: float,
                scale: float) -> tuple[Tensor, dict[str, Tensor]]:
        """embeddings (B, E), speakers (B,) -> cross entropy, and the share classified right (without margin)."""
        cosine = embeddings @ F.normalize(self.weight).T
        accuracy = (cosine.detach().argmax(1) == speakers).float().mean()
        if margin:
            target = cosine.gather(1, speakers[:, None])
            cosine = cosine.scatter(1, speakers[:, None], with_margin(target, margin))
        return F.cross_entropy(scale * cosine, speakers), {"accuracy": accuracy}


def with_margin(cosine: Tensor, margin: float) -> Tensor:
    """cos(angle + margin) of cos(angle), falling on linearly where angle + margin exceeds pi."""
    sine = (1.0 - cosine.square()).clamp_min(1e-7).sqrt()
    moved = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), moved, cosine - margin * math.sin(margin))
