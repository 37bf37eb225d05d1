#!/usr/bin/env python3
"""How fast training is: drawing alone, from features and from sound, the loop of training against the bare step,
mining, and several GPUs.

Each figure is a ratio or a rate measured in this one run, beside its target. Drawing reads archives of the size of
VoxCeleb1, sparse files under --dir; training has smaller ones of random values. Both are made and deleted here.
--durations is VoxCeleb's list of `utterance seconds` (also gzipped), the utterance's first path element its speaker;
without it lengths are drawn from a distribution of the same kind. What one GPU shows is measured by tests/gpu.sh.

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
from pathlib import Path

from packages import require

require(__file__)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from training_steps import (  # noqa: E402
    CHANGED,
    CONF,
    FROM_FEATURES,
    ROOT,
    SPEAKERS,
    begin_on,
    configure,
    epoch,
    gflop,
    loop_and_bare,
    mining_seconds,
    random_corpus,
    random_sound,
)

from deepspeaker.batches.training_set import TrainingSet  # noqa: E402
from deepspeaker.config import BatchConfig, load_config  # noqa: E402
from deepspeaker.datadir.archive import append  # noqa: E402
from deepspeaker.losses.triplet import MINING  # noqa: E402
from deepspeaker.training import distributed  # noqa: E402

BINS, FILES, UTTERANCES = 64, 32, 148_642
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


def bench_sound(directory: Path, batches: int = 15) -> dict:
    """64 windows of 200 frames out of sound, in the page cache, in one thread: what is changed -> windows a second."""
    found = {}
    for name, changes in CHANGED.items():
        config = configure("small.toml", changes)
        data = TrainingSet(directory, config.features, 1, config.augment, directory / "sounds")
        times = []
        for step in range(batches):
            start = time.perf_counter()
            data.draw(np.random.default_rng(step), WINDOWS)
            times.append(time.perf_counter() - start)
        found[name] = 64 / float(np.median(times))
    return {"windows_per_second": found, "target": {"no rooms": 3000, "all": 1000}}


def bench_loop_from_sound(directory: Path, device: torch.device, rounds: int = 5) -> dict:
    """An epoch of fit() on windows out of sound with all changes, against one on features, in turns; small.toml."""
    length = f"softmax.steps_per_epoch={20 if device.type == 'cpu' else 200} training.checkpoint_minutes=1e6"
    runs = [begin_on(directory, configure("small.toml", f"{changes} {length}"), "softmax", device)
            for changes in (FROM_FEATURES, CHANGED["all"])]
    for run, data in runs:
        epoch(run, data)
    pairs = [tuple(epoch(run, data) for run, data in runs) for _ in range(rounds)]
    features, sound = np.array(pairs).T
    return {"sound_of_features": float(np.median(sound / features)), "target": 1.2,
            "features_ms": 1e3 * float(np.median(features)), "sound_ms": 1e3 * float(np.median(sound))}


def bench_mining() -> dict:
    """Loss and gradient of 4,096 embeddings of 512 dimensions, 512 speakers x 8 utterances, on all cores."""
    found = {mining: mining_seconds(mining, 512, torch.device("cpu")) for mining in MINING}
    return {"seconds": found, "target_seconds": 1.0, "peak_memory_gb": peak_memory(), "target_memory_gb": 2.0}


def peak_memory() -> float:
    """GB of this process at its highest, PyTorch and page cache included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def bench_loop(directory: Path, device: torch.device) -> dict:
    """What fit() does against what must be computed, 64 windows of 200 frames."""
    config = configure("small.toml", f"{FROM_FEATURES} softmax.speakers=64 softmax.utterances=1 softmax.min_frames=200 "
                       "softmax.max_frames=200 softmax.steps_per_epoch=5 training.checkpoint_minutes=1e6")
    run, data = begin_on(directory, config, "softmax", device)
    return {"conf": "small.toml", "target": 0.97, **loop_and_bare(run, data, rounds=15)}


def bench_gpus(directory: Path) -> dict | str:
    """The loop of as many processes as there are GPUs, each with its share of the batch, against one."""
    if (count := torch.cuda.device_count()) < 2:
        return f"skipped: {count} GPU here, needs 2"
    rates = {}
    for processes in (1, count):
        words = [sys.executable, ROOT / "steps/torchrun.py", "--standalone", "--nproc-per-node", str(processes),
                 __file__, "--worker", directory]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        rates[processes] = json.loads(done.stdout)
    return {"utterances_per_second": rates}


def worker(directory: Path) -> None:
    """What bench_gpus starts: the paper's ResCNN, 64 windows for each process."""
    device = distributed.start("cuda")
    config = configure("deep_speaker.toml", f"features.vad=false softmax.speakers={64 * distributed.size()} "
                       "softmax.steps_per_epoch=200 training.checkpoint_minutes=1e6")
    run, data = begin_on(directory, config, "softmax", device)
    epoch(run, data)
    rate = config.softmax.speakers / epoch(run, data)
    if distributed.rank() == 0:
        print(json.dumps(rate))
    del run  # it holds the group
    distributed.leave()


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

    results = {"threads": torch.get_num_threads(), "mining": bench_mining(),
               "flops": {"gflop_per_utterance": gflop(configure("deep_speaker.toml"), 160)}}
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        random_corpus(Path(folder), SPEAKERS, utterances=4, frames=250, bins=BINS)
        results["loop_cpu"] = bench_loop(Path(folder), torch.device("cpu"))
        results["gpus"] = bench_gpus(Path(folder))
        random_sound(Path(folder), frames=250)
        results["loop_from_sound"] = bench_loop_from_sound(Path(folder), torch.device("cpu"))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        results["sound"] = bench_sound(Path(folder))
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        make_corpus(Path(folder), lengths(args.durations))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        results["drawing"] = bench_drawing(Path(folder), vad=False)
        results["drawing_vad"] = bench_drawing(Path(folder), vad=True)
        torch.set_num_threads(threads)
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        for name, found in results.items():
            print(f"{name}: {json.dumps(found)}")


if __name__ == "__main__":
    main()
