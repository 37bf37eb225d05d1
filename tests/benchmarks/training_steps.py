"""What the benchmarks and tests/gpu.sh measure of training: runs, batches and steps. What they use of the inside of
deepspeaker/training stands here alone."""

import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepspeaker.batches.training_set import Batch, TrainingSet
from deepspeaker.config import Config, load_config, set_values
from deepspeaker.corpus.sounds import make_sounds
from deepspeaker.datadir import read_table
from deepspeaker.datadir.sound_archive import append_sound
from deepspeaker.extraction.fbank import normalize
from deepspeaker.gpu import upload
from deepspeaker.losses.labels import Labels
from deepspeaker.losses.triplet import triplet_loss
from deepspeaker.models.base import Network
from deepspeaker.models.networks import build_network
from deepspeaker.training import loop
from deepspeaker.training.gauges import CollapseAlarm
from deepspeaker.training.learner import build_learner, build_optimizer
from deepspeaker.training.rehearsal import rehearse
from deepspeaker.training.state import Run

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "egs/voxceleb/conf"
SPEAKERS = 1211  # of VoxCeleb1 dev: the width of the classifier
FROM_FEATURES = "augment.online=false"
_ONLINE = "augment.copies=[] augment.online=true "
CHANGED = {  # windows out of sound, by what changes them
    "nothing": _ONLINE + "augment.speed=0 augment.noise=0 augment.babble=0 augment.reverb=0 augment.telephone=0",
    "no rooms": _ONLINE + "augment.speed=0.667 augment.noise=0.28 augment.babble=0.12 augment.reverb=0 "
                          "augment.telephone=0.1",
    "all": _ONLINE + "augment.speed=0.667 augment.noise=0.28 augment.babble=0.12 augment.reverb=0.32 "
                     "augment.telephone=0.1",
    "rooms": _ONLINE + "augment.speed=0 augment.noise=0 augment.babble=0 augment.reverb=1 augment.telephone=0"}
PAPERS_GRU = ('model={name="gru",channels=64,hidden=1024,layers=3,batch_norm="channel_frequency",pooling="mean",'
              'embedding_dim=512}')  # in place of deep_speaker.toml's network


def configure(conf: str, changes: str = "") -> Config:
    """A file of conf/ with changes as steps/write_conf.py --set takes them."""
    return set_values(load_config(CONF / conf), changes.split())


def network_of(config: Config) -> Network:
    """With random weights, always the same; in training mode."""
    torch.manual_seed(0)
    return build_network(config.features.num_mel_bins, config.model.name, config.model.options)


def gflop(config: Config, frames: int) -> float:
    """Operations of an utterance, forward and backward, in billions."""
    with FlopCounterMode(display=False) as counter:
        network_of(config)(torch.randn(2, frames, config.features.num_mel_bins)).sum().backward()
    return counter.get_total_flops() / 2e9


def random_corpus(directory: Path, speakers: int, utterances: int, frames: int, bins: int) -> None:
    """feats.scp and utt2spk of archives with random values. Silence would not do: zeros are faster to multiply."""
    rng, feats, utt2spk = np.random.default_rng(0), [], []
    path = directory / "raw_fbank.ark"
    with path.open("wb") as file:
        for speaker in range(speakers):
            for name in (f"s{speaker:05d}-{i:03d}" for i in range(utterances)):
                file.write(f"{name} ".encode())
                feats.append(f"{name} {path}:{file.tell()}\n")
                utt2spk.append(f"{name} s{speaker:05d}\n")
                file.write(b"\0BCM2 " + struct.pack("<ffii", -8.0, 20.0, frames, bins) + rng.bytes(2 * bins * frames))
    (directory / "feats.scp").write_text("".join(feats))
    (directory / "utt2spk").write_text("".join(utt2spk))


def random_sound(directory: Path, frames: int) -> None:
    """Of the utterances of random_corpus, their sound, and in sounds/ what windows are changed with."""
    rng, lines, path = np.random.default_rng(1), [], directory / "sound.ark"
    with path.open("wb") as file:
        for name in read_table(directory / "feats.scp"):
            samples = rng.integers(-3000, 3000, 160 * (frames - 1) + 400).astype(np.float32) / 32768
            lines.append(f"{name} {path}:{append_sound(file, name, samples, 16000)}\n")
    for name in ("sound.scp", "wav.scp"):
        (directory / name).write_text("".join(lines))
    make_sounds(directory / "sounds", ["noise", "babble", "reverb"], 16000, 0, speech=directory, number=200)


def random_batch(config: Config, windows: int, frames: int, device: torch.device, per_speaker: int = 1) -> Batch:
    """A batch on the device, `per_speaker` windows of each speaker."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(windows, frames, config.features.num_mel_bins, generator=generator)
    labels = Labels.of(torch.arange(windows) // per_speaker % SPEAKERS, torch.arange(windows))
    return upload(Batch(features, labels), device)


def begin(config: Config, phase: str, device: torch.device) -> Run:
    """A run without data, as fit() begins one."""
    torch.manual_seed(0)
    learner = build_learner(config, phase, [str(n) for n in range(SPEAKERS)], None, device)
    settings = getattr(config, phase)
    if config.training.compile:
        rehearse(learner, config.features.num_mel_bins, settings, compiled=True)
    learner.train()
    return Run(config, phase, Path(), 0, device, {}, learner, parallel=learner,
               optimizer=build_optimizer(learner, config.training), alarm=CollapseAlarm(settings.margin))


def begin_on(directory: Path, config: Config, phase: str, device: torch.device) -> tuple[Run, TrainingSet]:
    """A run on the data of a directory, as fit() begins one."""
    data = TrainingSet(directory, config.features, 2 if phase == "triplet" else 1, config.augment, directory / "sounds")
    with tempfile.TemporaryDirectory() as out:
        run = loop._start(config, phase, data, Path(out), {}, None, 0, device)
    run.learner.train()
    return run, data


def is_compiled(run: Run) -> bool:
    return run.learner.embed != run.learner.network.forward


def compile_again(run: Run, mode: str) -> None:
    """By a mode of torch.compile that no configuration asks for."""
    run.learner.embed = torch.compile(run.learner.network.forward, mode=mode)


def step(run: Run, batch: Batch) -> dict[str, torch.Tensor]:
    """A step of fit(); returns its gauges."""
    gauges = loop._step(run, batch)
    run.step += 1
    return gauges


def bare_step(run: Run, batch: Batch) -> None:
    """What must be computed in a step: no gauges, no seeds, no schedules."""
    embeddings = run.learner.embeddings(normalize(batch.features, run.config.features.normalize))
    loss, _ = run.learner.loss(embeddings, batch.labels, run.settings.loss_arguments(run.step))
    run.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(run.learner.parameters(), run.config.training.max_gradient_norm)
    run.optimizer.step()


def seconds(run: Run, batch: Batch, steps: int, a_step: Callable[[Run, Batch], object] = step) -> float:
    """Of a step on one batch, the mean over some."""
    synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        a_step(run, batch)
    synchronize()
    return (time.perf_counter() - start) / steps


def epoch(run: Run, data: TrainingSet) -> float:
    """Train for an epoch, as fit() does; returns the seconds of a step."""
    synchronize()
    start, first = time.perf_counter(), run.step
    loop._epoch(run, data, SimpleNamespace(signal=0))
    synchronize()
    return (time.perf_counter() - start) / (run.step - first)


def loop_and_bare(run: Run, data: TrainingSet, rounds: int) -> dict[str, float]:
    """fit()'s loop against bare steps on one batch of it that is on the device: an epoch of each, in turns."""
    batch, steps = upload(loop._draw(run, data, 0), run.device), run.settings.steps_per_epoch
    seconds(run, batch, 3)
    pairs = [(seconds(run, batch, steps, bare_step), epoch(run, data)) for _ in range(rounds)]
    bare, whole = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"loop_of_bare": statistics.median(a / b for a, b in pairs), "bare_ms": 1e3 * bare, "loop_ms": 1e3 * whole,
            "utterances_per_second": len(batch.features) / whole}


def mining_seconds(mining: str, speakers: int, device: torch.device) -> float:
    """Of the triplet loss and its gradient; 8 embeddings of 512 dimensions for each speaker. The median of five."""
    generator = torch.Generator().manual_seed(0)
    of = torch.arange(speakers).repeat_interleave(8)
    raw = 0.3 * torch.randn(speakers, 512, generator=generator)[of] + torch.randn(len(of), 512, generator=generator)
    embeddings, times = nn.functional.normalize(raw).to(device).requires_grad_(), []
    labels = upload(Labels.of(of, torch.arange(len(of))), device)
    for _ in range(5):
        synchronize()
        start = time.perf_counter()
        triplet_loss(embeddings, labels, 0.3, mining)[0].backward()
        synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_rate(device: torch.device, size: int) -> float:
    """Operations of a product of bf16 matrices, in 10^12 per second."""
    a, times = torch.randn(size, size, device=device, dtype=torch.bfloat16), []
    for _ in range(13):
        synchronize()
        start = time.perf_counter()
        a @ a
        synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size ** 3 / statistics.median(times[3:]) / 1e12
