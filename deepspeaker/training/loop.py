"""fit(): the only training loop.

All random numbers of step n follow from (seed, phase, n) alone. So a run resumed from a checkpoint draws the same as an
uninterrupted one, and several processes draw the same as one.
"""

import hashlib
import logging
import os
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import filelock
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from deepspeaker.batches.masking import draw_masks, mask
from deepspeaker.batches.needs import MIN_UTTERANCES, check_share, check_speakers
from deepspeaker.batches.training_set import Batch, TrainingSet
from deepspeaker.checkpoint import load, save
from deepspeaker.config import Config
from deepspeaker.errors import UserError, examples
from deepspeaker.extraction.fbank import normalize
from deepspeaker.gpu import explained
from deepspeaker.provenance import trained_with
from deepspeaker.training import distributed
from deepspeaker.training.dev_set import DevelopmentSet, summary
from deepspeaker.training.gauges import CollapseAlarm
from deepspeaker.training.learner import build_learner, build_optimizer
from deepspeaker.training.meter import Meter, conditions, epoch_line
from deepspeaker.training.rehearsal import rehearse
from deepspeaker.training.state import Entry, Run, check_identity, set_aside
from deepspeaker.training.stop import StopRequest

log = logging.getLogger(__name__)


def fit(config: Config, phase: str, train_dir: Path, dev_dir: Path, out_dir: Path, init: Path | None, seed: int,
        device: torch.device, replace: str | None = None, sounds: Path | None = None) -> None:
    """Train one phase ("softmax" or "triplet") and write out_dir/final.pt: the network of the epoch with the best dev
    EER, or the mean of the last epochs' networks ([training] average).

    Resumes from the last checkpoint in out_dir; does nothing where final.pt exists. UserError where out_dir holds a
    training with other data or settings, or another process trains into it. replace: "changed" moves a training with
    other data or settings aside, "always" a finished one, too (state.set_aside). init: a checkpoint whose network to
    start from; the softmax phase also takes the classifier's rows of speakers whom both know. sounds: the folder of
    what [augment] online adds. out_dir/initial.pt is the network before the first step. On SIGTERM or SIGINT the step
    is finished, a checkpoint written, and the process exits with status 143 or 130. Of several processes, all call
    fit().
    """
    cure, kept = f"lower [{phase}] speakers, utterances or max_frames", f"{out_dir} keeps what was trained"
    with _alone(out_dir), explained(cure, kept):
        data = TrainingSet(train_dir, config.features, MIN_UTTERANCES[phase], config.augment, sounds)
        dev = DevelopmentSet(dev_dir, config)
        identity = _identity(config, phase, data, dev, init, seed)
        final = out_dir / "final.pt"
        if replace:
            if distributed.rank() == 0:
                set_aside(out_dir, identity, replace)
            distributed.wait()
        if final.exists():
            check_identity(load(final), identity, final)
            log.info("%s exists: nothing to do", final)
            return
        train = partial(_train, config, phase, data, dev, out_dir, identity, init, seed, device)
        try:
            train()
            return
        except torch.OutOfMemoryError:
            if distributed.size() > 1 or not data.leave_gpu():
                raise
        log.warning("%s: the GPU's memory is used up: the archives leave it, and training goes on from the last "
                    "checkpoint with mapped archives", phase)
        torch.cuda.empty_cache()
        train()


def _train(config: Config, phase: str, data: TrainingSet, dev: DevelopmentSet, out_dir: Path,
           identity: dict[str, object], init: Path | None, seed: int, device: torch.device) -> None:
    """Train from the last checkpoint, or from the start, to final.pt."""
    run = _start(config, phase, data, out_dir, identity, init, seed, device)
    with StopRequest() as stop:
        while run.step < run.last_step:
            entry = _epoch(run, data, stop)
            _judge(run, entry, dev)
            _leave_if_asked(run, distributed.maximum(stop.signal))
        _finish(run, dev)


@contextmanager
def _alone(out_dir: Path) -> Iterator[None]:
    """Hold a lock on the folder, on rank 0; however the process ends, the system releases the lock."""
    lock = filelock.FileLock(out_dir / ".lock")
    try:
        if distributed.rank() == 0:
            lock.acquire(blocking=False)
    except filelock.Timeout:
        raise UserError(f"another process is training into {out_dir}: wait for its end, or choose another --name"
                        ) from None
    try:
        yield
    finally:
        lock.release()


def _identity(config: Config, phase: str, data: TrainingSet, dev: DevelopmentSet, init: Path | None,
              seed: int) -> dict[str, object]:
    return trained_with(config.as_tables(), phase) | {
        "seed": seed, "speakers": len(data.speakers), "utterances": len(data.features),
        "train_features": data.features.fingerprint(), **dev.fingerprints(),
        **({"sounds": sounds} if (sounds := data.bank.fingerprint) else {}),
        "init": init and hashlib.sha256(init.read_bytes()).hexdigest()[:16]}


def _start(config: Config, phase: str, data: TrainingSet, out_dir: Path, identity: dict[str, object],
           init: Path | None, seed: int, device: torch.device) -> Run:
    """A new run, or one resumed from its last checkpoint."""
    settings = getattr(config, phase)
    check_share(phase, settings.speakers, settings.utterances, distributed.size())
    if config.training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires it
        torch.use_deterministic_algorithms(True)
    torch.manual_seed(_number(seed, phase))
    learner = build_learner(config, phase, data.speakers, init, device)
    rehearse(learner, config.features.num_mel_bins, settings, config.training.compile)
    run = Run(config, phase, out_dir, seed, device, identity, learner, parallel=distributed.parallel(learner),
              optimizer=build_optimizer(learner, config.training), alarm=CollapseAlarm(settings.margin))
    run.restore()
    check_speakers(phase, settings.speakers, data.counts.tolist())
    _refuse_constant(_draw(run, data, run.step), data)
    if run.step == 0:
        run.save_network("initial.pt")
    where = data.place(device)
    log.info("%s: %d utterances of %d speakers (%s), network of %d parameters, on %s%s", phase, len(data.features),
             len(data.speakers), where, sum(p.numel() for p in learner.network.parameters()), device,
             f" x {distributed.size()}" if distributed.size() > 1 else "")
    return run


def _epoch(run: Run, data: TrainingSet, stop: StopRequest) -> Entry:
    """Train for the rest of the current epoch; returns the means of its gauges."""
    settings, meter = run.settings, Meter(run, data, partial(_draw, run, data, check=True))
    start = saved = time.monotonic()
    first, end = run.step, (run.step // settings.steps_per_epoch + 1) * settings.steps_per_epoch
    batches, agreement = data.batches(partial(_draw, run, data), range(first, end)), distributed.Agreement()
    run.learner.train()
    with tqdm(total=run.last_step, initial=first, desc=run.phase, unit="step", leave=False,
              disable=not sys.stderr.isatty() or distributed.rank() > 0) as bar:
        for batch in batches:
            meter.add(batch, _step(run, batch))
            run.step += 1
            if not bar.disable:
                bar.set_postfix(meter.shown(), dev=f"{run.best_eer:.2f}%", refresh=False)
            bar.update()
            asked = agreement.maximum(stop.signal)
            due = time.monotonic() - saved > 60 * run.config.training.checkpoint_minutes
            if run.step < end and (due or asked):  # at the end of an epoch, _judge saves
                meter.read()
                run.save()
                saved = time.monotonic()
                _leave_if_asked(run, asked)
    agreement.finish()
    meter.read()
    seconds = time.monotonic() - start
    rate = (end - first) * settings.speakers * settings.utterances / seconds
    return {"epoch": end // settings.steps_per_epoch, "step": end, **meter.means(),
            "learning_rate": settings.learning_rate_at(end - 1), "utterances_per_second": rate,
            "waiting": batches.waited / seconds, "seconds": seconds}


def _leave_if_asked(run: Run, signal: int) -> None:
    """Exit if a process got SIGTERM or SIGINT; the checkpoint has been written."""
    if signal:
        distributed.wait()
        log.info("stopped at step %d: run again to resume", run.step)
        sys.exit(128 + signal)


def _draw(run: Run, data: TrainingSet, step: int, check: bool = False) -> Batch:
    """The batch of a step: this process's share of the windows and their masks, and the labels of all windows. check:
    as in TrainingSet.draw."""
    rng = np.random.default_rng([run.seed, zlib.crc32(run.phase.encode()), step])
    settings, augment = run.settings, run.config.augment
    count = settings.speakers * settings.utterances
    batch = data.draw(rng, settings, distributed.share(count), check)
    generator = torch.Generator().manual_seed(_number(run.seed, run.phase, step))
    uniform = torch.rand(2, 2, count, generator=generator)[:, :, distributed.share(count)]
    _, frames, bins = batch.features.shape
    return batch._replace(masks=draw_masks(frames, bins, augment.time_mask, augment.frequency_mask, uniform))


def _step(run: Run, batch: Batch) -> dict[str, Tensor]:
    """One optimiser step; returns its gauges, on the device."""
    if run.learner.network.random_in_training:
        torch.manual_seed(_number(run.seed, run.phase, run.step, distributed.rank()))
    for group in run.optimizer.param_groups:
        group["lr"] = run.settings.learning_rate_at(run.step)
    features = mask(normalize(batch.features, run.config.features.normalize), batch.masks)
    loss, gauges = run.parallel(features, batch.labels, run.settings.loss_arguments(run.step))
    run.optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(run.learner.parameters(), run.config.training.max_gradient_norm)
    run.optimizer.step()
    return {"loss": loss.detach(), **gauges, "gradient_norm": norm}


def _refuse_constant(batch: Batch, data: TrainingSet) -> None:
    """UserError when no window of a batch changes over time: there is nothing to learn from silence."""
    if (batch.features == batch.features[:, :1]).all():
        names = (data.features.utterances[i] for i in batch.labels.utterances.tolist())
        raise UserError(f"the features of all utterances of a batch are constant ({examples(names)}): look at their "
                        f"audio, and make the features again (stage 2)")


def _judge(run: Run, entry: Entry, dev: DevelopmentSet) -> None:
    """Dev EERs of the epoch just ended; keep what it leaves; log."""
    entry |= _dev_eers(run, dev)
    best = entry["dev_eer"] < run.best_eer
    run.keep(entry)
    if distributed.rank() == 0:
        _tensorboard(run, entry)
    log.info("%s", epoch_line(run, entry, best))


def _dev_eers(run: Run, dev: DevelopmentSet) -> Entry:
    distributed.align_buffers(run.learner.network)
    run.learner.eval()
    return summary(dev.eers(run.learner.network, run.device))


def _finish(run: Run, dev: DevelopmentSet) -> None:
    """Write final.pt: the best epoch's network, or the mean of the last ones."""
    final = run.out_dir / "final.pt"
    if run.config.training.average:
        epochs = run.average()
        eers = _dev_eers(run, dev)
        run.save_network(final.name, epochs=epochs, dev_eer=eers["dev_eer"])
        log.info("%s: mean of epochs %s, dev EER %.2f %%%s", final, " ".join(map(str, epochs)), eers["dev_eer"],
                 conditions(eers))
    else:
        best = load(run.out_dir / "best.pt")
        if distributed.rank() == 0:
            save(final, best)
        log.info("%s: epoch %d, dev EER %.2f %%", final, best["epoch"], best["dev_eer"])
    distributed.wait()


def _tensorboard(run: Run, entry: Entry) -> None:
    """The epoch's numbers for TensorBoard, where it is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return
    with SummaryWriter(run.out_dir / "tensorboard") as writer:
        for name, value in entry.items():
            writer.add_scalar(f"{run.phase}/{name}", value, entry["step"])


def _number(*parts: object) -> int:
    """A seed that depends on all the parts."""
    return zlib.crc32(repr(parts).encode())
