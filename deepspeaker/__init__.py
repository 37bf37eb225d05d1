"""Deep Speaker: speaker embeddings from Kaldi-style data, trained with softmax and triplet loss."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepspeaker.inference.model import Model, load

__version__ = "0.2.0"
__all__ = ["Model", "load"]


def __getattr__(name: str) -> object:
    """Import Model and load on first use, so that `import deepspeaker` alone does not import torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepspeaker.inference import model

    return getattr(model, name)
