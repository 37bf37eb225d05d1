"""Speaker-embedding networks by name. Each maps features (B, T, F) to embeddings (B, E) of length one."""

from collections.abc import Mapping

from torch import nn

from deepspeaker.models.ecapa import ECAPA
from deepspeaker.models.gru import GRU
from deepspeaker.models.rescnn import ResCNN
from deepspeaker.models.resnet import ResNet

NETWORKS = {"rescnn": ResCNN, "gru": GRU, "resnet": ResNet, "ecapa": ECAPA}


def build_network(num_mel_bins: int, name: str, options: Mapping[str, object]) -> nn.Module:
    """A freshly initialised network for `num_mel_bins` features, from its name and its constructor's arguments."""
    return NETWORKS[name](num_mel_bins, **options)
