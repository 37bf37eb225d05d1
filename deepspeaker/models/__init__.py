"""Speaker-embedding networks by name. Each maps features (B, T, F) to embeddings (B, E) of length one."""

from collections.abc import Mapping

from torch import nn

from deepspeaker.command import UserError
from deepspeaker.models.rescnn import ResCNN

MODELS = {"rescnn": ResCNN}


def model_class(name: str) -> type[nn.Module]:
    """The class called `name`; UserError lists the valid names."""
    if name not in MODELS:
        raise UserError(f"[model] name: no model {name!r}; there are: {', '.join(MODELS)}")
    return MODELS[name]


def build_model(num_mel_bins: int, name: str, options: Mapping[str, object]) -> nn.Module:
    """A freshly initialised network for `num_mel_bins` features, from its name and its constructor's arguments."""
    return model_class(name)(num_mel_bins, **options)
