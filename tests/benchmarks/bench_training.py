#!/usr/bin/env python3
"""How fast training is: drawing alone, training with data against one fixed batch, mining, and what only a GPU shows.

Each figure is a ratio or a rate measured in this one run, beside its target. Archives of the size of VoxCeleb1 are
sparse files under --dir, made and deleted here. --durations is VoxCeleb's list of `utterance seconds` (also gzipped),
the utterance's first path element its speaker; without it lengths are drawn from a distribution of the same kind.

    tests/benchmarks/bench_training.py [--json] [--durations vox1_dev_duration.txt.gz] [--dir /tmp]
"""

import argparse
import gzip
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils import benchmark
from torch.utils.flop_counter import FlopCounterMode

from deepspeaker.config import BatchConfig, config_from_tables, load_config
from deepspeaker.datadir.archive import append
from deepspeaker.losses.triplet import MINING, triplet_loss
from deepspeaker.models.networks import build_network
from deepspeaker.training import distributed
from deepspeaker.training import loop as training
from deepspeaker.training.batches import Ahead, TrainingSet

CONF = Path(__file__).resolve().parents[2] / "egs/voxceleb/conf"
BINS, FILES, UTTERANCES, SPEAKERS = 64, 32, 148_642, 1_211
WINDOWS = BatchConfig(speakers=64, utterances=1, min_frames=200, max_frames=200, speaker_weight="even")


def lengths(durations: Path | None) -> dict[str, int]:
    """Frames of each utterance of a corpus like VoxCeleb1."""
    if durations:
        with (gzip.open if durations.suffix == ".gz" else open)(durations, "rt") as file:
            return {name.replace("/", "-"): int(float(seconds) * 100) - 2 for name, seconds in map(str.split, file)}
    rng = np.random.default_rng(0)
    seconds = np.minimum(145.0, 3.9 + rng.gamma(0.9, 4.8, UTTERANCES))  # VoxCeleb1: at least 4 s, 8.2 s on average
    return {f"id{i % SPEAKERS:05d}-{i:06d}": int(100 * s) - 2 for i, s in enumerate(seconds)}


def make_corpus(directory: Path, frames: dict[str, int]) -> None:
    """feats.scp and utt2spk of sparse CM2 archives; vad.scp of real ones, a fifth of the frames unvoiced."""
    names = sorted(frames)
    feats, marks = [], []
    rng = np.random.default_rng(0)
    for part in range(FILES):
        path, vads = directory / f"raw_fbank.{part}.ark", directory / f"vad.{part}.ark"
        with path.open("wb") as file, vads.open("wb") as vad_file:
            for name in names[part * len(names) // FILES:(part + 1) * len(names) // FILES]:
                file.write(f"{name} ".encode())
                feats.append(f"{name} {path}:{file.tell()}\n")
                file.write(b"\0BCM2 " + struct.pack("<ffii", -8.0, 20.0, frames[name], BINS))
                file.seek(2 * BINS * frames[name], os.SEEK_CUR)
                marks.append(f"{name} {vads}:{append(vad_file, name, _voiced(rng, frames[name]))}\n")
            file.truncate()
    (directory / "feats.scp").write_text("".join(feats))
    (directory / "vad.scp").write_text("".join(marks))
    (directory / "utt2spk").write_text("".join(f"{name} {name.split('-')[0]}\n" for name in names))


def _voiced(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Runs of 50 frames, four of five voiced."""
    return (rng.random(-(-frames // 50)) < 0.8).repeat(50)[:frames].astype(np.float32)


def anonymous_memory() -> float:
    """GB of this process that are not page cache."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1e6


def bench_drawing(directory: Path, vad: bool, batches: int = 1000) -> dict:
    """64 windows of 200 frames: of utterances never seen before, and of those that are in the page cache."""
    before, start = anonymous_memory(), time.perf_counter()
    data = TrainingSet(directory, load_config(CONF / ("deep_speaker.toml" if vad else "small.toml")).features)
    opened = time.perf_counter() - start
    seconds = []  # of each batch: wall, processor
    for step in 2 * list(range(batches)):
        start, processor = time.perf_counter(), time.thread_time()
        data.draw(np.random.default_rng(step), WINDOWS)
        seconds.append((time.perf_counter() - start, time.thread_time() - processor))
    first, again = np.array(seconds[:batches]), np.array(seconds[batches:])
    return {"utterances": len(data.features), "windows_per_second": 64 / np.median(again[:, 0]), "target": 40_000,
            "windows_per_processor_second": 64 / again[:, 1].mean(),
            "windows_per_second_first_seen": 64 / first[:, 0].mean(), "open_seconds": opened,
            "memory_gb": anonymous_memory() - before, "target_memory_gb": 1.0}


def bench_mining() -> dict:
    """Loss and gradient of 4,096 embeddings of 512 dimensions, 512 speakers x 8 utterances, on all cores."""
    generator = torch.Generator().manual_seed(0)
    speakers = torch.arange(512).repeat_interleave(8)
    raw = 0.3 * torch.randn(512, 512, generator=generator)[speakers] + torch.randn(4096, 512, generator=generator)
    embeddings = F.normalize(raw).requires_grad_()
    seconds = {}
    for mining in MINING:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            triplet_loss(embeddings, speakers, torch.arange(4096), 0.3, mining)[0].backward()
            times.append(time.perf_counter() - start)
        seconds[mining] = sorted(times)[2]
    return {"seconds": seconds, "target_seconds": 1.0, "peak_memory_gb": peak_memory(), "target_memory_gb": 2.0}


def peak_memory() -> float:
    """GB of this process at its highest, PyTorch and page cache included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def start_run(directory: Path, conf: str, frames: int, device: torch.device, **training_keys: object):
    """A training set and a run of the softmax phase on it, as fit() begins one."""
    tables = load_config(CONF / conf).as_tables()
    tables["softmax"] |= {"speakers": 64, "min_frames": frames, "max_frames": frames}
    tables["features"]["vad"] = False  # the sparse archives have no speech
    tables["training"] |= training_keys
    data = TrainingSet(directory, config_from_tables(tables, conf).features)
    with tempfile.TemporaryDirectory() as out:
        run = training._start(config_from_tables(tables, conf), "softmax", data, Path(out), {}, None, 0, device)
    run.learner.train()
    return run, data


def seconds_of(run, batches) -> float:
    """Of training on some batches, as _epoch does it."""
    synchronize(run.device)
    start = time.perf_counter()
    for batch in batches:
        training._step(run, batch)
        run.step += 1
    synchronize(run.device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bench_waiting(directory: Path, conf: str, frames: int, device: torch.device, steps: int) -> dict:
    """Training with data against the same step on one fixed batch that is on the device, in turns."""
    run, data = start_run(directory, conf, frames, device)
    draw = partial(training._draw, run, data)
    fixed = draw(0)
    seconds_of(run, [fixed] * 3)
    pairs = []
    for _ in range(15):
        first = run.step
        pairs.append((seconds_of(run, [fixed] * steps), seconds_of(run, Ahead(draw, range(first, first + steps)))))
    windows = steps * run.settings.speakers * run.settings.utterances
    return {"conf": conf, "target": 0.97,
            "ratio": float(np.median([a / b for a, b in pairs])),
            "utterances_per_second": windows / min(b for _, b in pairs)}


def count_flops() -> dict:
    """Operations of the paper's ResCNN, forward and backward, of an utterance of 160 frames."""
    config = load_config(CONF / "deep_speaker.toml")
    network = build_network(BINS, config.model.name, config.model.options)
    with FlopCounterMode(display=False) as counter:
        network(torch.randn(2, 160, BINS)).sum().backward()
    return {"gflop_per_utterance": counter.get_total_flops() / 2e9}


def bench_gpu(directory: Path, gflop: float) -> dict:
    """The paper's ResCNN at T = 160 in bf16: eager and compiled; NCCL where there are several GPUs."""
    device, found = torch.device("cuda"), {"gpu": torch.cuda.get_device_name()}
    a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    seconds = benchmark.Timer("a @ a", globals={"a": a}).blocked_autorange(min_run_time=2).median
    found["matrix_tflops"] = 2 * 8192 ** 3 / seconds / 1e12
    for name in ("eager", "compiled"):
        torch.cuda.reset_peak_memory_stats()
        run, data = start_run(directory, "deep_speaker.toml", 160, device, compile=name == "compiled")
        fixed = training._draw(run, data, 0)
        seconds_of(run, [fixed] * 10)
        rate = 100 * len(fixed.utterances) / seconds_of(run, [fixed] * 100)
        share = rate * gflop / 1e3 / found["matrix_tflops"]
        found[name] = {"utterances_per_second": rate, "share_of_matrix_rate": share, "target_share": 0.35,
                       "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9}
    found["waiting"] = bench_waiting(directory, "deep_speaker.toml", 160, device, 100)
    found["nccl"] = bench_nccl(directory)
    return found


def bench_nccl(directory: Path) -> dict | str:
    """The step of as many processes as there are GPUs, each with its share of the batch."""
    if (count := torch.cuda.device_count()) < 2:
        return f"skipped: {count} GPU here, needs 2"
    torchrun = Path(__file__).resolve().parents[2] / "steps/torchrun.py"
    words = [sys.executable, torchrun, "--standalone", "--nproc-per-node", str(count), __file__, "--worker", directory]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def worker(directory: Path) -> None:
    """What bench_nccl starts."""
    run, data = start_run(directory, "deep_speaker.toml", 160, distributed.start("cuda"))
    batch = training._draw(run, data, 0)
    seconds_of(run, [batch] * 10)
    seconds = seconds_of(run, [batch] * 100)
    if distributed.rank() == 0:
        print(json.dumps({"gpus": distributed.size(), "utterances_per_second": 100 * len(batch.utterances) / seconds}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--durations", type=Path)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where 1 GB is free")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker)
        return

    results = {"threads": torch.get_num_threads(), "mining": bench_mining(), "flops": count_flops()}
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        make_corpus(Path(folder), lengths(args.durations))
        results["waiting_cpu"] = bench_waiting(Path(folder), "small.toml", 200, torch.device("cpu"), 5)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        results["drawing"] = bench_drawing(Path(folder), vad=False)
        results["drawing_vad"] = bench_drawing(Path(folder), vad=True)
        torch.set_num_threads(threads)
        results["gpu"] = (bench_gpu(Path(folder), results["flops"]["gflop_per_utterance"])
                          if torch.cuda.is_available() else "skipped: PyTorch finds no GPU here")
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        for name, found in results.items():
            print(f"{name}: {json.dumps(found)}")


if __name__ == "__main__":
    main()
