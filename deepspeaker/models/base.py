"""The type of every network."""

from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from deepspeaker.models.padding import Ends


class Network(nn.Module):
    """The type of what a network promises; deepspeaker/models/__init__.py says it in words."""

    embedding_dim: int  # E
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, features: Tensor, ends: Ends | None = None) -> Tensor:
        """features (B, T, F) -> embeddings (B, E) of unit length; T >= 1; `ends` of a padded batch."""
