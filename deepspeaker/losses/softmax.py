"""Speaker classification: softmax over scaled cosines, plain or with an additive angular margin."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.losses.labels import Labels


class SoftmaxArguments(NamedTuple):
    """The arguments of Softmax at a step."""

    margin: float  # radians, added to the true speaker's angle; 0: plain softmax
    scale: float  # of the cosines


class Softmax(nn.Module):
    """A classifier over the training speakers.

    The logit of a speaker is scale * cos(angle), with the angle between the embedding and the speaker's weight vector.
    With a margin, the true speaker's logit is scale * cos(angle + margin) (ArcFace, Deng et al. 2019, equation 3).
    Beyond angle = pi - margin, where this cosine would rise again, it falls linearly.
    """

    def __init__(self, num_speakers: int, embedding_dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_speakers, embedding_dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, embeddings: Tensor, labels: Labels,
                arguments: SoftmaxArguments) -> tuple[Tensor, dict[str, Tensor]]:
        """embeddings (B, E) -> mean cross entropy, and the accuracy (0..1) of the classifier without margin."""
        margin, scale = arguments
        speakers = labels.speakers
        cosine = embeddings @ F.normalize(self.weight).T
        accuracy = (cosine.detach().argmax(1) == speakers).float().mean()
        if margin:
            target = cosine.gather(1, speakers[:, None])
            cosine = cosine.scatter(1, speakers[:, None], with_margin(target, margin))
        return F.cross_entropy(scale * cosine, speakers), {"accuracy": accuracy}


def margin_at(step: int, margin: float, start: int, warmup: int) -> float:
    """The margin at a step, counted from 0: 0 up to `start`, then rising linearly over `warmup` steps (0: at once)."""
    past = step - start
    share = min(1.0, max(0.0, past / warmup)) if warmup else float(past >= 0)
    return share * margin


def with_margin(cosine: Tensor, margin: float) -> Tensor:
    """cos(angle) -> cos(angle + margin), element by element; where angle + margin exceeds pi, it falls linearly."""
    sine = (1.0 - cosine.square()).clamp_min(1e-7).sqrt()
    moved = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), moved, cosine - margin * math.sin(margin))
