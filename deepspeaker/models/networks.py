"""The networks by the name that the configuration gives them, [model] name. A new network is added here."""

from collections.abc import Mapping

from deepspeaker.models.base import Network
from deepspeaker.models.campplus import CAMPlusPlus
from deepspeaker.models.ecapa import ECAPA
from deepspeaker.models.gru import GRU
from deepspeaker.models.rescnn import ResCNN
from deepspeaker.models.resnet import ResNet

NETWORKS: dict[str, type[Network]] = {"rescnn": ResCNN, "gru": GRU, "resnet": ResNet, "ecapa": ECAPA,
                                     "campplus": CAMPlusPlus}


def build_network(num_mel_bins: int, name: str, options: Mapping[str, object]) -> Network:
    """A network with random weights for features of `num_mel_bins` values, from its name and its other arguments."""
    return NETWORKS[name](num_mel_bins, **options)
