"""Network and loss, ready to be trained on one device or on several."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from deepspeaker.checkpoint import load_network
from deepspeaker.config import BatchConfig, Config, TrainingConfig
from deepspeaker.errors import UserError
from deepspeaker.losses import LOSSES, LossArguments
from deepspeaker.models.base import Network
from deepspeaker.models.networks import build_network
from deepspeaker.provenance import differences
from deepspeaker.training import distributed
from deepspeaker.training.gauges import spread

log = logging.getLogger(__name__)


class Learner(nn.Module):
    """Network and loss as one module, so that the gradients of both are averaged over the processes."""

    def __init__(self, network: Network, loss: nn.Module):
        super().__init__()
        self.network, self.loss = network, loss
        self.embed: Callable[[Tensor], Tensor] = network.forward  # or compiled, see _compile

    def forward(self, features: Tensor, speakers: Tensor, utterances: Tensor,
                arguments: LossArguments) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and gauges of a batch: features (B / processes, T, F) of this process, labels (B,) of all."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=features.device.type == "cuda"):
            embeddings = self.embed(features)
        embeddings = distributed.gather(embeddings)
        loss, gauges = self.loss(embeddings, speakers, utterances, arguments)
        return loss, gauges | spread(embeddings.detach(), speakers, utterances)


def build_learner(config: Config, phase: str, num_speakers: int, init: Path | None, device: torch.device) -> Learner:
    """A learner on the device; its network starts from the checkpoint `init` or at random."""
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options)
    if init:
        _take_weights(network, init, config, phase, num_speakers)
    loss = LOSSES[phase](num_speakers, network.embedding_dim)
    if device.type == "cuda" and distributed.size() > 1:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    learner = Learner(network, loss).to(device)
    if config.training.compile:
        _compile(learner, config.features.num_mel_bins, getattr(config, phase), device)
    return learner


def build_optimizer(learner: Learner, config: TrainingConfig) -> torch.optim.Optimizer:
    """An optimizer of network and loss, of learning rate 0 until a step sets it."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(learner.parameters(), 0.0, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(learner.parameters(), 0.0, betas=(config.momentum, 0.999),
                             weight_decay=config.weight_decay)


def _take_weights(network: Network, init: Path, config: Config, phase: str, num_speakers: int) -> None:
    trained = load_network(init)
    old, new = ({key: c.as_tables()[key] for key in ("features", "model")} for c in (trained.config, config))
    if different := differences(old, new):
        raise UserError(f"{init} was trained with another configuration ({'; '.join(different)}): take its [features] "
                        f"and [model], or start without it")
    network.load_state_dict(trained.network.state_dict())
    speakers = trained.content.get("identity", {}).get("speakers", "unknown")
    log.info("from %s (trained on %s speakers): its network is kept; %s", init, speakers,
             f"its classifier is replaced by a new one of {num_speakers} speakers" if phase == "softmax" else
             "its classifier is left behind")


def _compile(learner: Learner, num_mel_bins: int, settings: BatchConfig, device: torch.device) -> None:
    """Compile the network and try a step with the shortest and one with the longest windows. Where that fails, log a
    warning and leave the learner as it is."""
    network = torch.compile(learner.network.forward)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    try:
        batch = settings.speakers * settings.utterances // distributed.size()
        for frames in (settings.min_frames, settings.max_frames):
            features = torch.randn(batch, frames, num_mel_bins, device=device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                network(features).sum().backward()
        learner.embed = network
    except Exception as error:  # a compiler may fail in any way
        reason = str(error).strip().split("\n", 1)[0]
        log.warning("torch.compile failed, training goes on without it: %s: %s", type(error).__name__, reason)
    learner.network.load_state_dict(before)
    learner.zero_grad()
