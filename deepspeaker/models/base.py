"""The type of every network, and the end that all share."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepspeaker.models.padding import Ends, each
from deepspeaker.models.pooling import Pool


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
        x = full(self.frames(features, ends))
        with outside_autocast(x):
            return F.normalize(self.head(each(self.pool, x, ends)))


def full(x: Tensor) -> Tensor:
    """x in at least float32: the lower precision of mixed-precision training does not suffice for sums and norms."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def outside_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Within this context, operations on x keep its precision in mixed-precision training, too. Without autocast it is
    an empty context, because torch.export cannot write the other one into a graph."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
