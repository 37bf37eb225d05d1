"""fit(): the only training loop.

Everything random in step n follows from (seed, phase, n) alone, so a run that goes on from a checkpoint draws what an
undisturbed one would have drawn.
"""

import hashlib
import json
import logging
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from deepspeaker import __version__
from deepspeaker.augment import mask
from deepspeaker.batches import Batch, TrainingSet
from deepspeaker.checkpoint import load, load_model, save
from deepspeaker.command import UserError
from deepspeaker.config import Config, PhaseConfig, TrainingConfig, differences
from deepspeaker.development import DevelopmentSet
from deepspeaker.features import normalize
from deepspeaker.files import atomic
from deepspeaker.losses import LOSSES
from deepspeaker.models import build_model
from deepspeaker.signals import StopRequest

KEPT = 3  # checkpoints to go on from; older ones are deleted
TRAINED_WITH = ("features", "model", "batches", "training", "augment", "embedding")  # sections, and the phase's own
log = logging.getLogger(__name__)


@dataclass
class Run:
    """One phase of training: what is fixed (identity) and what each step changes."""

    config: Config
    phase: str
    out_dir: Path
    seed: int
    identity: dict  # what a checkpoint must have been made with for the run to go on from it
    model: nn.Module
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: list[dict] = field(default_factory=list)  # one entry an epoch: train.jsonl

    @property
    def settings(self) -> PhaseConfig:
        return getattr(self.config, self.phase)

    @property
    def best_eer(self) -> float:
        return min((entry["dev_eer"] for entry in self.history), default=float("inf"))

    def save(self) -> None:
        """Write all that is needed to go on, and delete the oldest such checkpoint beyond KEPT."""
        save(self.out_dir / f"step-{self.step:08d}.pt", {
            **self._network(), "loss": self.loss.state_dict(), "optimizer": self.optimizer.state_dict(),
            "step": self.step, "history": self.history})
        for old in checkpoints(self.out_dir)[:-KEPT]:
            old.unlink()

    def save_network(self, name: str, **facts: object) -> None:
        """Write the network alone."""
        save(self.out_dir / name, {**self._network(), "version": __version__, **facts})

    def restore(self) -> None:
        """Go on from the last checkpoint in out_dir, if there is one made with the same identity."""
        for path in checkpoints(self.out_dir)[-1:]:
            content = load(path)
            check_identity(content, self.identity, path)
            self.model.load_state_dict(content["model"])
            self.loss.load_state_dict(content["loss"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.history = content["step"], content["history"]
            log.info("going on from %s", path)

    def _network(self) -> dict:
        return {"config": self.config.as_tables(), "phase": self.phase, "identity": self.identity,
                "model": self.model.state_dict()}


def fit(config: Config, phase: str, train_dir: Path, dev_dir: Path, out_dir: Path, init: Path | None, seed: int,
        device: torch.device) -> None:
    """Train one phase ("softmax" or "triplet") and leave out_dir/final.pt, the epoch with the best dev EER.

    Goes on from the last checkpoint in out_dir; does nothing when final.pt is there. `init`: a checkpoint whose
    network to start from. out_dir/initial.pt is the network before the first step. On SIGTERM or SIGINT the step is
    finished, a checkpoint written, and the process ends with status 143 or 130.
    """
    data = TrainingSet(train_dir, config.features, min_utterances=2 if phase == "triplet" else 1)
    identity = _identity(config, phase, data, init, seed)
    final = out_dir / "final.pt"
    if final.exists():
        check_identity(load(final), identity, final)
        log.info("%s is there: nothing to do", final)
        return
    dev = DevelopmentSet(dev_dir, config)
    run = _start(config, phase, data, out_dir, identity, init, seed, device)
    run.restore()
    if run.step == 0:
        run.save_network("initial.pt")
    log.info("%s: %d utterances of %d speakers, network of %d parameters, on %s", phase, len(data.features),
             len(data.speakers), sum(p.numel() for p in run.model.parameters()), device)
    with StopRequest() as stop:
        while run.step < run.settings.epochs * run.settings.steps_per_epoch:
            entry = _epoch(run, data, device, stop)
            _judge(run, entry, dev, device)
            _leave_if_asked(run, stop)
    best = load(out_dir / "best.pt")
    save(final, best)
    log.info("%s: epoch %d, dev EER %.2f %%", final, best["epoch"], best["dev_eer"])


def checkpoints(out_dir: Path) -> list[Path]:
    """The checkpoints to go on from, oldest first."""
    return sorted(out_dir.glob("step-*.pt"))


def check_identity(content: dict, identity: dict, path: Path) -> None:
    """Raise UserError, naming each difference, when a checkpoint was made with other data or configuration."""
    if different := differences(content.get("identity", {}), identity):
        raise UserError(f"{path} was trained otherwise ({'; '.join(different)}): move {path.parent} away to train "
                        f"anew, or take another --name")


def learning_rate(step: int, settings: PhaseConfig) -> float:
    """Rising linearly over warmup_steps, then falling linearly to final_learning_rate at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    last = settings.epochs * settings.steps_per_epoch - 1
    share = (step - settings.warmup_steps) / max(1, last - settings.warmup_steps)
    return settings.learning_rate + share * (settings.final_learning_rate - settings.learning_rate)


def _identity(config: Config, phase: str, data: TrainingSet, init: Path | None, seed: int) -> dict:
    tables = config.as_tables()
    return {name: tables[name] for name in (*TRAINED_WITH, phase)} | {
        "seed": seed, "speakers": len(data.speakers), "utterances": len(data.features),
        "list": hashlib.sha256("\n".join(data.features.utterances).encode()).hexdigest()[:16],
        "init": init and hashlib.sha256(init.read_bytes()).hexdigest()[:16]}


def _start(config: Config, phase: str, data: TrainingSet, out_dir: Path, identity: dict, init: Path | None,
           seed: int, device: torch.device) -> Run:
    torch.manual_seed(_number(seed, phase))
    model = build_model(config.features.num_mel_bins, config.model.name, config.model.options)
    if init:
        _take_weights(model, init, config)
    settings = getattr(config, phase)
    if phase == "softmax":
        loss = LOSSES[phase](len(data.speakers), model.affine.out_features, settings.margin, settings.scale)
    else:
        loss = LOSSES[phase](settings.margin, settings.mining)
    model.to(device)
    loss.to(device)
    optimizer = _optimizer([*model.parameters(), *loss.parameters()], config.training)
    return Run(config, phase, out_dir, seed, identity, model, loss, optimizer)


def _take_weights(model: nn.Module, init: Path, config: Config) -> None:
    trained = load_model(init)
    old, new = ({key: c.as_tables()[key] for key in ("features", "model")} for c in (trained.config, config))
    if different := differences(old, new):
        raise UserError(f"{init} is of another configuration ({'; '.join(different)}): use that configuration's "
                        f"[features] and [model], or start without it")
    model.load_state_dict(trained.model.state_dict())


def _optimizer(parameters: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, 0.0, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(parameters, 0.0, betas=(config.momentum, 0.999), weight_decay=config.weight_decay)


def _epoch(run: Run, data: TrainingSet, device: torch.device, stop: StopRequest) -> dict:
    """Train for the rest of the current epoch; returns the means of its gauges."""
    settings, means = run.settings, {}
    start = saved = time.monotonic()
    first, end = run.step, (run.step // run.settings.steps_per_epoch + 1) * run.settings.steps_per_epoch
    total = settings.epochs * settings.steps_per_epoch
    run.model.train()
    with tqdm(total=total, initial=first, desc=run.phase, unit="step", leave=False,
              disable=not sys.stderr.isatty()) as bar:
        while run.step < end:
            gauges = _step(run, data, device)
            for name, value in gauges.items():
                means[name] = means.get(name, 0.0) + value / (end - first)
            run.step += 1
            bar.update()
            bar.set_postfix(loss=f"{gauges['loss']:.3f}", dev=f"{run.best_eer:.2f}%", refresh=False)
            due = time.monotonic() - saved > 60 * run.config.training.checkpoint_minutes
            if run.step < end and (due or stop.signal):  # at the end the epoch is judged first
                run.save()
                saved = time.monotonic()
                _leave_if_asked(run, stop)
    seconds = time.monotonic() - start
    rate = (end - first) * settings.speakers * settings.utterances / seconds
    return {"epoch": end // settings.steps_per_epoch, "step": end, **means,
            "learning_rate": learning_rate(end - 1, settings), "utterances_per_second": rate, "seconds": seconds}


def _leave_if_asked(run: Run, stop: StopRequest) -> None:
    """End the process after SIGTERM or SIGINT; the checkpoint is written."""
    if stop.signal:
        log.info("stopped at step %d; run again to go on", run.step)
        sys.exit(128 + stop.signal)


def _step(run: Run, data: TrainingSet, device: torch.device) -> dict[str, float]:
    """One optimiser step; returns its gauges."""
    settings = run.settings
    rng = np.random.default_rng([run.seed, zlib.crc32(run.phase.encode()), run.step])
    batch = data.draw(rng, settings.speakers, settings.utterances, run.config.batches)
    features = _network_input(run, batch, device)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(run.step, settings)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        embeddings = run.model(features)
    loss, gauges = run.loss(embeddings, batch.speakers.to(device), batch.utterances.to(device))
    if not torch.isfinite(loss):
        names = " ".join(data.features.utterances[i] for i in batch.utterances.tolist())
        raise UserError(f"{run.phase}: loss {loss.item()} at step {run.step}, learning rate "
                        f"{learning_rate(run.step, settings):g}: lower [{run.phase}] learning_rate, or look at the "
                        f"features of this batch: {names}")
    run.optimizer.zero_grad()
    loss.backward()
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, run.config.training.max_gradient_norm)
    run.optimizer.step()
    return {name: value.item() for name, value in {"loss": loss, **gauges, "gradient_norm": norm}.items()}


def _network_input(run: Run, batch: Batch, device: torch.device) -> Tensor:
    """The batch's windows on the device, normalised and masked."""
    features = normalize(batch.features.to(device, non_blocking=True), run.config.features.normalize)
    generator = torch.Generator(device).manual_seed(_number(run.seed, run.phase, run.step))
    return mask(features, run.config.augment.time_mask, run.config.augment.frequency_mask, generator)


def _judge(run: Run, entry: dict, dev: DevelopmentSet, device: torch.device) -> None:
    """Dev EER of the epoch just ended; keep the network if it is the best; checkpoint; log."""
    run.model.eval()
    entry["dev_eer"] = dev.eer(run.model, device)
    best = entry["dev_eer"] < run.best_eer
    if best:
        run.save_network("best.pt", epoch=entry["epoch"], dev_eer=entry["dev_eer"])
    run.history.append(entry)
    run.save()
    with atomic(run.out_dir / "train.jsonl") as file:
        file.writelines(json.dumps(e) + "\n" for e in run.history)
    _tensorboard(run, entry)
    shown = "  ".join(f"{name} {value:.4g}" for name, value in entry.items() if name not in ("epoch", "step"))
    log.info("%s epoch %d/%d  %s%s", run.phase, entry["epoch"], run.settings.epochs, shown,
             "  (best)" if best else "")


def _tensorboard(run: Run, entry: dict) -> None:
    """The epoch's numbers for TensorBoard, where it is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return
    with SummaryWriter(run.out_dir / "tensorboard") as writer:
        for name, value in entry.items():
            writer.add_scalar(f"{run.phase}/{name}", value, entry["step"])


def _number(*parts: object) -> int:
    """A seed that follows from all the parts."""
    return zlib.crc32(repr(parts).encode())
