"""The type of every network, and the end that all share."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.models.padding import Ends
from deepspeaker.models.pooling import Pool, full


class Network(nn.Module):
    """Frames of some width, pooling over time, affine, unit length; deepspeaker/models/__init__.py says in words what a
    network promises. A network sets the attributes and supplies `frames`."""

    embedding_dim: int  # E
    pool: Pool  # of build_pooling
    affine: nn.Linear  # from pooled values to E
    random_in_training = False  # whether a forward pass in training mode draws random numbers, as dropout does
    __call__: Callable[..., Tensor]

    @abstractmethod
    def frames(self, features: Tensor, ends: Ends | None) -> Tensor:
        """features (B, T, F) -> what is pooled, (B, T', D); T >= 1; `ends` of a padded batch."""

    def head(self, pooled: Tensor) -> Tensor:
        """Pooled values (B, D') -> embeddings (B, E) of any length."""
        found: Tensor = self.affine(pooled)
        return found

    def forward(self, features: Tensor, ends: Ends | None = None) -> Tensor:
        """features (B, T, F) -> embeddings (B, E) of unit length; T >= 1; `ends` of a padded batch."""
        pooled = self.pool(full(self.frames(features, ends)), ends)
        with outside_autocast(pooled):
            return F.normalize(self.head(pooled))


def outside_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Within this context, operations on x keep its precision in mixed-precision training, too. Without autocast it is
    an empty context, because torch.export cannot write the other one into a graph."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
