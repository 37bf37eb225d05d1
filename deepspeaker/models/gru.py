"""The paper's recurrent network (Li et al., Deep Speaker, arXiv 1705.02304, section 3)."""

import torch
from torch import Tensor, nn

from deepspeaker.models.base import Network, outside_autocast
from deepspeaker.models.padding import Ends
from deepspeaker.models.pooling import build_pooling, full
from deepspeaker.models.rescnn import Entrance, find_norm


class GRU(Network):
    """A 5x5 convolution with stride 2, gated recurrent layers, pooling over time, affine, unit length.

    num_mel_bins: F; channels: of the convolution; hidden: units in each recurrent layer; layers: recurrent layers;
    batch_norm: a name of NORMS (rescnn.py); pooling: a name of POOLING; embedding_dim: E.
    The paper has: channels 64, hidden 1024, layers 3, mean, E 512.
    """

    def __init__(self, num_mel_bins: int, *, channels: int, hidden: int, layers: int, batch_norm: str, pooling: str,
                 embedding_dim: int):
        super().__init__()
        frequencies = (num_mel_bins + 1) // 2
        self.front = Entrance(1, channels, frequencies, find_norm(batch_norm))
        self.gru = nn.GRU(channels * frequencies, hidden, layers, batch_first=True)
        self.pool, pooled = build_pooling(pooling, hidden)
        self.embedding_dim, self.affine = embedding_dim, nn.Linear(pooled, embedding_dim)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs

    def frames(self, features: Tensor, ends: Ends | None) -> Tensor:
        """features (B, T, F) -> (B, T', D), as Network says."""
        x: Tensor = self.front(features.unsqueeze(1).contiguous(memory_format=torch.channels_last), ends)
        x = full(x.permute(0, 2, 1, 3).flatten(2))
        # PyTorch before 2.12 runs recurrent layers in float16 under bfloat16's autocast, too: without a scale of the
        # loss, small gradients become zero.
        with outside_autocast(x):
            x, _ = self.gru(x)
        return x
