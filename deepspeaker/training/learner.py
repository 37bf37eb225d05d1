"""Network and loss, ready to be trained on one device or on several."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from deepspeaker.checkpoint import Content, load_network
from deepspeaker.config import Config, TrainingConfig
from deepspeaker.errors import UserError
from deepspeaker.losses import LOSSES, LossArguments
from deepspeaker.losses.labels import Labels
from deepspeaker.models.base import Network
from deepspeaker.models.networks import build_network
from deepspeaker.provenance import differences
from deepspeaker.training import distributed
from deepspeaker.training.classifier import take_rows
from deepspeaker.training.gauges import spread

log = logging.getLogger(__name__)


class Learner(nn.Module):
    """Network and loss as one module, so that the gradients of both are averaged over the processes.

    speakers: the names of the training speakers, in the order of their labels. origin: of a network of another project,
    as its checkpoint has it (importing/network.py). frozen_norms: whether batch normalisation keeps the statistics that
    it has, in training, too.
    """

    def __init__(self, network: Network, loss: nn.Module, speakers: Sequence[str], origin: Content, frozen_norms: bool):
        super().__init__()
        self._frozen_norms = frozen_norms
        self.network, self.loss, self.speakers, self.origin = network, loss, speakers, origin
        self.embed: Callable[[Tensor], Tensor] = network.forward  # or compiled, see rehearsal.py
        self.mixed = True  # mixed precision where the device gains from it

    def train(self, mode: bool = True) -> "Learner":
        super().train(mode)
        if self._frozen_norms:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, features: Tensor, labels: Labels,
                arguments: LossArguments) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and gauges of a batch: features (B / processes, T, F) of this process, labels of all."""
        embeddings = distributed.gather(self.embeddings(features))
        loss, gauges = self.loss(embeddings, labels, arguments)
        return loss, gauges | spread(embeddings.detach(), labels)

    def embeddings(self, features: Tensor) -> Tensor:
        """features (B, T, F) -> embeddings (B, E), in mixed precision where that is faster."""
        mixed = self.mixed and multiplies_bfloat16(features.device)
        with torch.autocast(features.device.type, torch.bfloat16, enabled=mixed):
            return self.embed(features)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has units for it: GPUs, and CPUs with AMX, of which an older PyTorch cannot tell."""
    if device.type == "cuda":
        return True
    return hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def build_learner(config: Config, phase: str, speakers: Sequence[str], init: Path | None, device: torch.device
                  ) -> Learner:
    """A learner on the device. Its network starts from the checkpoint `init` or at random, and so does a classifier's
    row of each speaker whom the checkpoint knows by name."""
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options)
    trained = _take_weights(network, init, config) if init else {}
    loss = LOSSES[phase](len(speakers), network.embedding_dim)
    if init:
        speakers_there = trained.get("identity", {}).get("speakers")
        whence = f"trained on {speakers_there} speakers" if speakers_there else trained.get("origin", {}).get("network")
        log.info("from %s (%s): its network is kept; %s", init, whence or "trained on unknown speakers",
                 take_rows(loss, speakers, trained, init))
    if device.type == "cuda" and distributed.size() > 1:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return Learner(network, loss, speakers, trained.get("origin", {}),
                   config.training.frozen_norms).to(device)


def build_optimizer(learner: Learner, config: TrainingConfig) -> torch.optim.Optimizer:
    """An optimizer of network and loss, of learning rate 0 until a step sets it."""
    parameters = list(learner.parameters())
    on_gpu = parameters[0].is_cuda  # one kernel for many parameters there
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, 0.0, momentum=config.momentum, weight_decay=config.weight_decay,
                               fused=on_gpu)
    return torch.optim.AdamW(parameters, 0.0, betas=(config.momentum, 0.999), weight_decay=config.weight_decay,
                             fused=on_gpu)


def _take_weights(network: Network, init: Path, config: Config) -> Content:
    """Give the network the weights of the checkpoint; returns what else is in that."""
    trained = load_network(init)
    old, new = ({key: c.as_tables()[key] for key in ("features", "model")} for c in (trained.config, config))
    if different := differences(old, new):
        raise UserError(f"{init} was trained with another configuration ({'; '.join(different)}): take its [features] "
                        f"and [model], or start without it")
    network.load_state_dict(trained.network.state_dict())
    return trained.content
