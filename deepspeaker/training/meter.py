"""The gauges of an epoch: the progress bar shows them, the log has their means, and they end a run that has failed."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deepspeaker.batches.training_set import Batch, TrainingSet
from deepspeaker.errors import UserError
from deepspeaker.gpu import Download
from deepspeaker.training import distributed
from deepspeaker.training.dev_set import CONDITION
from deepspeaker.training.gauges import ALARM_STEPS
from deepspeaker.training.state import Entry, Run

SHOWN = ("loss", "active", "accuracy", "same", "different", "cosine")  # on the progress bar
FORMATS = {"loss": ".3f", "accuracy": ".1%", "active": ".1%", "same": ".2f", "different": ".2f"}  # in an epoch's line


class Meter:
    """The gauges of an epoch. A step's are read when the next step has been launched, so that a GPU always has work.

    check: draws a step's batch once more, and raises UserError for the change that made values that are not finite.
    """

    def __init__(self, run: Run, data: TrainingSet, check: Callable[[int], object]):
        self._run, self._data, self._check = run, data, check
        self._unread: tuple[int, Batch, Download] | None = None
        self._names: list[str] = []
        self._values: list[list[float]] = []

    def add(self, batch: Batch, gauges: dict[str, Tensor]) -> None:
        """Take a step's gauges and read those of the step before."""
        coming = Download(torch.stack(list(gauges.values())))
        self.read()
        self._names, self._unread = list(gauges), (self._run.step, batch, coming)

    def read(self) -> None:
        """Read the gauges that were not read yet; UserError when training has failed."""
        if not self._unread:
            return
        (step, batch, values), self._unread = self._unread, None
        self._values.append(values.read().tolist())
        gauges = dict(zip(self._names, self._values[-1], strict=True))
        if not math.isfinite(gauges["loss"]) or not math.isfinite(gauges["gradient_norm"]):
            raise _not_finite(self._run, self._data, step, batch, gauges, self._check)
        if self._run.phase == "triplet" and self._run.alarm.rings(gauges["loss"], gauges["cosine"]):
            raise _collapsed(self._run, step, gauges)

    def shown(self) -> dict[str, str]:
        """What the progress bar shows."""
        latest = dict(zip(self._names, self._values[-1], strict=True)) if self._values else {}
        return {name: f"{latest[name]:.3f}" for name in SHOWN if math.isfinite(latest.get(name, math.nan))}

    def means(self) -> dict[str, float]:
        """The mean of each gauge over the steps, without those that no step had."""
        columns = dict(zip(self._names, np.array(self._values).T, strict=True))
        return {name: float(np.nanmean(column)) for name, column in columns.items() if not np.isnan(column).all()}


def epoch_line(run: Run, entry: Entry, best: bool) -> str:
    """An epoch in one line of at most 120 characters, for a person; train.jsonl has all its numbers.

    The EERs of several conditions take the place of the cosines and of utterances per second.
    """
    each = conditions(entry)
    gauges = [f"{name} {entry[name]:{form}}" for name, form in FORMATS.items()
              if name in entry and not (each and name in ("same", "different"))]
    rate = [] if each else [f"{entry['utterances_per_second']:.0f} utt/s"]
    parts = [f"{run.phase} epoch {entry['epoch']}/{run.settings.epochs}", *gauges,
             f"dev EER {entry['dev_eer']:.2f}%{each}", *rate, f"{entry['seconds']:.0f} s", *["best"] * best]
    return "  ".join(parts)


def conditions(entry: Entry) -> str:
    """The EERs of several conditions in short, ` (clean 4.1, noise 12.0)`, in percent; "" where there is one."""
    found = [f"{name.removeprefix(CONDITION)} {eer:.1f}" for name, eer in entry.items() if name.startswith(CONDITION)]
    return f" ({', '.join(found)})" if found else ""


def _not_finite(run: Run, data: TrainingSet, step: int, batch: Batch, gauges: dict[str, float],
                check: Callable[[int], object]) -> UserError:
    utterances = batch.labels.utterances
    mine = utterances[distributed.share(len(utterances))]
    bad = mine[~batch.features.isfinite().flatten(1).all(1)].tolist()
    names = sorted({data.features.utterances[i] for part in distributed.gather_objects(bad) for i in part})
    what = f"{run.phase}: loss {gauges['loss']:g}, gradient norm {gauges['gradient_norm']:g} at step {step}"
    if names:
        check(step)
        return UserError(f"{what}: the features of {' '.join(names)} hold values that are not finite: make them again "
                         f"(stage 2), or take the utterance out of {data.features.path}")
    return UserError(f"{what}, learning rate {run.settings.learning_rate_at(step):g}: lower [{run.phase}] "
                     f"learning_rate or [training] max_gradient_norm, or raise warmup_steps")


def _collapsed(run: Run, step: int, gauges: dict[str, float]) -> UserError:
    return UserError(
        f"triplet: collapsed at step {step}: for {ALARM_STEPS} steps the loss was the margin ({gauges['loss']:.4f}) "
        f"and all embeddings alike (mean pairwise cosine {gauges['cosine']:.3f}). Start from a network trained by the "
        f"softmax phase (--init), mine \"semihard\" (at least in the first epochs, see [triplet] schedule), or lower "
        f"[triplet] learning_rate; then move {run.out_dir} away")
