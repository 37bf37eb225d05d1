"""The labels of a batch, and what follows from them alone: which embeddings form pairs.

Made where the batch is drawn, on the CPU: a step that counted pairs on a GPU would have to wait for the numbers.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Labels(NamedTuple):
    """Who speaks in the B windows of a batch. An anchor's positives are the windows of the same speaker's other
    utterances; windows of other speakers are its negatives."""

    speakers: Tensor  # (B,) numbers of the training speakers
    utterances: Tensor  # (B,) numbers of the utterances
    positives: Tensor  # (B, K) where each anchor's positives lie in the batch; short rows end with the anchor itself
    paired: Tensor  # (B, K) bool: False where a row of `positives` only ends with the anchor itself
    pairs: int  # (anchor, positive) in the batch
    others: int  # (anchor, negative)
    triplets: int  # (anchor, positive, negative)

    @classmethod
    def of(cls, speakers: Tensor, utterances: Tensor) -> "Labels":
        """The labels of windows in any order. Both tensors on the CPU."""
        size, utterance = len(speakers), utterances.numpy()
        order = np.argsort(speakers.numpy(), kind="stable")  # speaker by speaker
        _, number, counts = np.unique(speakers.numpy(), return_inverse=True, return_counts=True)
        place = np.arange(counts.max(initial=0))
        first = (counts.cumsum() - counts)[number, None]
        members = order[np.minimum(first + place, size - 1)]
        paired = (place < counts[number, None]) & (utterance[members] != utterance[:, None])
        members = np.where(paired, members, np.arange(size)[:, None])
        pairs = paired.sum(1)
        kept = np.argsort(~paired, axis=1, kind="stable")[:, :pairs.max(initial=0)]  # the pairs of a row come first
        positives, paired = (np.take_along_axis(each, kept, 1) for each in (members, paired))
        others = size - counts[number]
        return cls(speakers, utterances, torch.from_numpy(positives), torch.from_numpy(paired), int(pairs.sum()),
                   int(others.sum()), int((pairs * others).sum()))
