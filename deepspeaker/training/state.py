"""The state of a run, which trains one phase: how it is kept in checkpoints, resumed, and moved aside."""

import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepspeaker import __version__
from deepspeaker.atomic import atomic
from deepspeaker.checkpoint import load, mean, save
from deepspeaker.config import Config, PhaseConfig
from deepspeaker.errors import UserError
from deepspeaker.provenance import differences
from deepspeaker.training import distributed
from deepspeaker.training.classifier import as_content
from deepspeaker.training.gauges import CollapseAlarm
from deepspeaker.training.learner import Learner

KEPT = 3  # checkpoints to resume from; older ones are deleted
Entry = dict[str, float]  # of an epoch: its line of train.jsonl
log = logging.getLogger(__name__)


@dataclass
class Run:
    """A phase being trained. All processes hold the same state; rank 0 alone writes it."""

    config: Config
    phase: str
    out_dir: Path
    seed: int
    device: torch.device
    identity: dict[str, object]  # data and settings: a run resumes only from checkpoints with the same
    learner: Learner
    parallel: nn.Module  # the learner, its gradients averaged over the processes
    optimizer: torch.optim.Optimizer
    alarm: CollapseAlarm
    step: int = 0
    history: list[Entry] = field(default_factory=list)

    @property
    def settings(self) -> PhaseConfig:
        found: PhaseConfig = getattr(self.config, self.phase)
        return found

    @property
    def last_step(self) -> int:
        return self.settings.epochs * self.settings.steps_per_epoch

    @property
    def best_eer(self) -> float:
        return min((entry["dev_eer"] for entry in self.history), default=float("inf"))

    def save(self) -> None:
        """Write a checkpoint to resume from, and delete all such checkpoints but the last KEPT."""
        self._write(f"step-{self.step:08d}.pt", {
            "loss": self.learner.loss.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step,
            "history": self.history})
        self._delete_all_but("step-*.pt", KEPT)

    def save_network(self, name: str, **facts: object) -> None:
        """Write the network and, in the softmax phase, the classifier: what a training may start from."""
        self._write(name, {"version": __version__, **facts, **as_content(self.learner.loss, self.learner.speakers)})

    def restore(self) -> None:
        """Resume from the last checkpoint in out_dir, if there is one; UserError where it has another identity."""
        for path in checkpoints(self.out_dir)[-1:]:
            content = load(path)
            check_identity(content, self.identity, path)
            self.learner.network.load_state_dict(content["model"])
            self.learner.loss.load_state_dict(content["loss"])
            for saved, own in zip(content["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True):
                saved["fused"] = own["fused"]  # the checkpoint may come from another device
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.history = content["step"], content["history"]
            log.info("resuming from %s", path)

    def keep(self, entry: Entry) -> None:
        """Add an epoch's entry to the history; write its network where final.pt may need it, and a checkpoint."""
        if entry["dev_eer"] < self.best_eer:
            self.save_network("best.pt", epoch=entry["epoch"], dev_eer=entry["dev_eer"])
        if count := self.config.training.average:
            self.save_network(f"epoch-{entry['epoch']:05d}.pt", epoch=entry["epoch"], dev_eer=entry["dev_eer"])
            self._delete_all_but("epoch-*.pt", count)
        self.history.append(entry)
        self.save()
        if distributed.rank() == 0:
            with atomic(self.out_dir / "train.jsonl") as file:
                file.writelines(json.dumps(e) + "\n" for e in self.history)
        distributed.wait()

    def average(self) -> list[int]:
        """Set network and classifier to the mean of those of the last epochs, which `keep` wrote; returns the epochs'
        numbers."""
        kept = [load(path) for path in sorted(self.out_dir.glob("epoch-*.pt"))]
        self.learner.network.load_state_dict(mean([content["model"] for content in kept]))
        if rows := [{"weight": content["classifier"]["weight"]} for content in kept if "classifier" in content]:
            self.learner.loss.load_state_dict(mean(rows))
        return [content["epoch"] for content in kept]

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if distributed.rank() == 0:
            save(self.out_dir / name, {
                "config": self.config.as_tables(), "phase": self.phase, "identity": self.identity,
                "model": self.learner.network.state_dict(),
                **({"origin": self.learner.origin} if self.learner.origin else {}), **content})

    def _delete_all_but(self, pattern: str, count: int) -> None:
        if distributed.rank() == 0:
            for old in sorted(self.out_dir.glob(pattern))[:-count]:
                old.unlink()


def checkpoints(out_dir: Path) -> list[Path]:
    """The checkpoints to resume from, oldest first."""
    return sorted(out_dir.glob("step-*.pt"))


def set_aside(out_dir: Path, identity: dict[str, object], replace: str) -> None:
    """Move an earlier training in out_dir, except its logs, to old/ beside out_dir, where it replaces an older one.

    replace: "changed": only a training with another identity; "always": a finished one, too. An unfinished training
    with the same identity stays: it is this run, which a queue may have restarted.
    """
    final = out_dir / "final.pt"
    kept = [path for path in (final, *checkpoints(out_dir)[-1:]) if path.exists()]
    if kept and (replace == "always" and kept[0] == final
                 or differences(load(kept[0]).get("identity", {}), identity)):
        old = out_dir.parent / "old" / out_dir.name
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir(parents=True)
        for path in out_dir.iterdir():
            if path.name not in (".lock", "train.log", "log"):  # open, or of run.pl or slurm.pl
                path.rename(old / path.name)
        log.info("the earlier training in %s is moved to %s", out_dir, old)


def check_identity(content: dict[str, Any], identity: dict[str, object], path: Path) -> None:
    """UserError, naming each difference, when a checkpoint was trained with other data or settings."""
    if different := differences(content.get("identity", {}), identity):
        raise UserError(f"{path} was trained with other data or settings ({'; '.join(different)}): move {path.parent} "
                        f"away to train anew, or choose another --name")
