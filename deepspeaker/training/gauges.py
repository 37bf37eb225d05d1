"""Gauges of the embeddings, logged beside the loss, and the alarm for triplet training that has collapsed."""

import torch
from torch import Tensor

from deepspeaker.losses.labels import Labels

ALARM_STEPS = 200  # collapsed steps in a row that end a run
NEAR, ALIKE = 0.02, 0.9  # a collapsed step: loss within 2 % of the margin, mean pairwise cosine above 0.9


@torch.no_grad()
def spread(embeddings: Tensor, labels: Labels) -> dict[str, Tensor]:
    """Gauges of unit-length embeddings (B, E); nan where there is no such pair.

    same, different: mean cosine of pairs of different utterances of one speaker, and of two speakers; cosine: of all
    pairs. effective_rank: B^2 / sum of squared cosines, which is exp(Renyi entropy of order 2) of the energies of the
    embeddings' principal directions: 1 when all are alike, at most min(B, E).
    """
    cosine = embeddings @ embeddings.T
    size = len(cosine)
    same = (cosine.gather(1, labels.positives) * labels.paired).sum()
    different = (cosine * (labels.speakers[:, None] != labels.speakers)).sum()
    return {"same": same / labels.pairs, "different": different / labels.others,
            "cosine": (cosine.sum() - size) / (size * (size - 1)),
            "effective_rank": (size / torch.linalg.matrix_norm(cosine)).square()}


class CollapseAlarm:
    """Counts collapsed steps in a row: the triplet loss is near the margin, and all embeddings are alike."""

    def __init__(self, margin: float):
        self._margin, self._steps = margin, 0

    def rings(self, loss: float, cosine: float) -> bool:
        """Whether this is the collapsed step number ALARM_STEPS in a row."""
        collapsed = abs(loss - self._margin) <= NEAR * self._margin and cosine > ALIKE
        self._steps = self._steps + 1 if collapsed else 0
        return self._steps >= ALARM_STEPS
