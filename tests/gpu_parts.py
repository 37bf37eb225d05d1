#!/usr/bin/env python3
"""The parts of tests/gpu.sh. Those that are timed are in gpu_speed.py.

    tests/gpu_parts.py OUT PART [ARGUMENT]

Adds rows to OUT/parts/PART.jsonl (PART-ARGUMENT.jsonl). $WORK has what the recipes have left: gpu/ and cpu/, of the
synthetic corpus; wide/data/ with features for the networks that need 80 mel bins.
"""

import csv
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/benchmarks")]

from packages import require  # noqa: E402

require(__file__)

import gpu_speed  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from gpu_speed import CUDA, DEVICE, NETWORKS, aim, sized  # noqa: E402
from gpu_table import Row, add_row  # noqa: E402
from training_steps import (  # noqa: E402
    CHANGED,
    FROM_FEATURES,
    begin,
    configure,
    network_of,
    random_batch,
    random_corpus,
    step,
)

from deepspeaker.checkpoint import load  # noqa: E402
from deepspeaker.config import write_config  # noqa: E402
from deepspeaker.extraction.embed import embed_set  # noqa: E402
from deepspeaker.extraction.feature_set import FeatureSet  # noqa: E402
from deepspeaker.training import distributed  # noqa: E402

CPU = torch.device("cpu")
WORK = Path(os.environ.get("WORK", "."))


def python(*words: object, **options: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *map(str, words)], stderr=subprocess.STDOUT, text=True, **options)


def train_words(conf: Path, phase: str, data: Path, out: Path) -> list[object]:
    return [ROOT / "steps/train.py", "--phase", phase, "--conf", conf, "--device", DEVICE.type, "--sounds",
            data.parent / "sounds/train", data / "train", data / "dev", out]


def train(name: str) -> Iterator[Row]:
    """A configuration for VoxCeleb as it ships, but for the length of its training and the corpus."""
    source, changes, _ = NETWORKS[name]
    config, conf = configure(source), WORK / f"{name}.toml"
    data = WORK / ("wide/data" if CUDA and config.features.num_mel_bins == 80 else "gpu/data")
    windows = config.softmax.speakers * config.softmax.utterances
    there = len((data / "train/spk2utt").read_text().splitlines())
    speakers = math.gcd(windows, 1 << there.bit_length() - 1)  # a power of two that the corpus has
    changes += (f" softmax.epochs=3 softmax.steps_per_epoch={sized(100, 1)} softmax.speakers={speakers} "
                f"softmax.utterances={sized(windows // speakers, 1)} augment.copies=[] {FROM_FEATURES} "
                "training.average=0 ")
    changes += sized("", "softmax.min_frames=32 softmax.max_frames=32 features.num_mel_bins=64")
    write_config(conf, configure(source, changes))
    if python(*train_words(conf, "softmax", data, WORK / name)).wait():
        raise SystemExit(1)
    first, *_, last = [json.loads(line) for line in (WORK / name / "train.jsonl").open()]
    yield Row(f"{name}: loss of the last epoch / the first", last["loss"] / first["loss"], at_most=aim(1),
              more={"loss": last["loss"], "dev EER": last["dev_eer"], "utt/s": last["utterances_per_second"]})


def resume(phase: str) -> Iterator[Row]:
    """Undisturbed twice; stopped by SIGTERM, and by SIGKILL, and started again: all must end with the same weights. The
    softmax phase is trained on windows out of sound, with all changes."""
    conf = WORK / f"resume_{phase}.toml"
    write_config(conf, configure("demo.toml", (
        f"{CHANGED['all'] if phase == 'softmax' else FROM_FEATURES} training.deterministic=true augment.time_mask=10 "
        f"{phase}.epochs=3 {phase}.steps_per_epoch={sized(60, 4)} "
        "training.checkpoint_minutes=0.0005" + sized("", f" {phase}.speakers=4 {phase}.max_frames=80"))))
    signals = {"whole": None, "SIGKILL": signal.SIGKILL} | sized({"again": None, "SIGTERM": signal.SIGTERM}, {})
    words = {name: train_words(conf, phase, WORK / "gpu/data", WORK / f"resume_{phase}/{name}") for name in signals}
    runs = {name: python(*words[name]) for name in signals}
    for name, number in signals.items():
        while number and not list(words[name][-1].glob("step-*.pt")) and runs[name].poll() is None:
            time.sleep(0.005)
        if number:
            runs[name].send_signal(number)
    ended = {name: run.wait() for name, run in runs.items()}
    for name, number in signals.items():
        if number and python(*words[name]).wait():
            raise SystemExit(1)
    whole = load(words["whole"][-1] / "final.pt")["model"]
    for name in signals.keys() - {"whole"}:
        other = load(words[name][-1] / "final.pt")["model"]
        different = sum(not torch.equal(whole[key], other[key]) for key in whole)
        yield Row(f"{phase}, {name}: tensors that differ", different, at_most=0,
                  more={"first run ended with": ended[name]})


def recipes() -> Iterator[Row]:
    """The recipe with a GPU beside that without."""
    found = {}
    for where in ("gpu", "cpu"):
        with (WORK / where / "exp/demo/results.tsv").open() as file:
            found[where] = {row["phase"]: float(row["eer"]) for row in csv.DictReader(file, delimiter="\t")}
    for phase, eer in found["gpu"].items():
        yield Row(f"{phase}: EER on a GPU - on a CPU, points", abs(eer - found["cpu"][phase]), at_most=1,
                  more={"GPU": eer, "CPU": found["cpu"][phase]})


def agree() -> Iterator[Row]:
    """Embeddings of one network on both devices."""
    for name, (conf, changes, _) in NETWORKS.items():
        config = configure(conf, f"{changes} features.vad=false")
        directory = WORK / f"agree_{name}"
        directory.mkdir()
        random_corpus(directory, sized(8, 2), utterances=1, frames=333, bins=config.features.num_mel_bins)
        features, network = FeatureSet(directory, config.features), network_of(config).eval()
        here, there = ([embedding for _, embedding in embed_set(network.to(device), features, range(len(features)),
                                                                config, device)] for device in (CPU, DEVICE))
        worst = np.abs(np.stack(here) - np.stack(there)).max()
        yield Row(f"{name}: worst difference of embeddings", float(worst), at_most=1e-4)


def nccl() -> Iterator[Row]:
    """What training asks of NCCL; one process, as two cannot share a GPU."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555", "RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group(sized("cpu:gloo,cuda:nccl", "gloo"))
    x = torch.randn(4, 8, device=DEVICE, requires_grad=True)
    torch.cat(distributed.all_gather(x)).square().sum().backward()
    worst = (x.grad - 2 * x.detach()).abs().max()
    yield Row("gradient through all_gather: worst difference", float(worst), at_most=1e-6)
    config = configure("small.toml", sized("", "model.channels=[4,4]"))
    batch, losses = random_batch(config, sized(32, 4), sized(120, 32), DEVICE), []
    for wrapped in (False, True):
        run = begin(config, "softmax", DEVICE)
        if wrapped and CUDA:
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(run.learner.network)
        if wrapped:
            run.parallel = torch.nn.parallel.DistributedDataParallel(run.learner)
        losses.append([float(step(run, batch)["loss"]) for _ in range(3)])
    alone, beside = losses
    yield Row("loss of DistributedDataParallel / alone - 1", abs(beside[-1] / alone[-1] - 1), at_most=0.01)
    agreement = distributed.Agreement()
    with patch.object(distributed, "size", lambda: 2):  # else nothing is exchanged
        agreement.maximum(3)
    yield Row("number agreed upon a step later", agreement.finish(), at_least=3)
    del run  # it holds the group
    distributed.leave()


def pair() -> Iterator[Row]:
    """Two processes on one GPU, connected by Gloo: batch normalisation, gradients and labels as two GPUs have them."""
    run = python(ROOT / "steps/torchrun.py", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", 2,
                 __file__, WORK, "pair_worker", stdout=subprocess.PIPE)
    output = run.communicate()[0]
    print(output)
    both = next(json.loads(line[7:]) for line in output.splitlines() if line.startswith("LOSSES "))
    worst = max(abs(a / b - 1) for a, b in zip(both, some_losses(), strict=True))
    yield Row("loss of two processes / of one - 1, worst", worst, at_most=0.02, more={"loss": both[-1]})


def pair_worker() -> Iterator[Row]:
    """One of them; it adds no row."""
    dist.init_process_group("gloo")
    losses = some_losses()
    if distributed.rank() == 0:
        print("LOSSES " + json.dumps(losses), flush=True)
    distributed.leave()
    yield from ()


def some_losses() -> list[float]:
    """Of five steps on one batch, which the processes share."""
    config = configure("small.toml", sized("", "model.channels=[4,4]"))
    run, windows = begin(config, "softmax", DEVICE), sized(32, 8)
    run.learner.train(CUDA)  # batches are normalised together on GPUs alone
    run.parallel = distributed.parallel(run.learner)
    batch = random_batch(config, windows, sized(120, 32), DEVICE)
    mine = batch._replace(features=batch.features[distributed.share(windows)])
    return [float(step(run, mine)["loss"]) for _ in range(5)]


PARTS = {part.__name__: part for part in (
    train, resume, recipes, agree, nccl, pair, pair_worker, gpu_speed.device, gpu_speed.rates, gpu_speed.compiling,
    gpu_speed.compiled, gpu_speed.loop, gpu_speed.waits, gpu_speed.fbank, gpu_speed.sound, gpu_speed.embeddings,
    gpu_speed.mining)}


def main(out: str, name: str, *arguments: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for row in PARTS[name](*arguments):
        add_row(Path(out) / "parts" / f"{'-'.join((name, *arguments))}.jsonl", row)
        print(row.line(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
