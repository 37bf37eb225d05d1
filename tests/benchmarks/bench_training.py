#!/usr/bin/env python3
"""How fast training is: drawing alone, training with data against one fixed batch, mining, and what only a GPU can show.

Each figure is a ratio or a rate measured in this one run, beside its target. Archives of the size of VoxCeleb1 are
sparse files under --dir, made and deleted here. --durations is VoxCeleb's list of `utterance seconds` (also gzipped),
the utterance's first path element its speaker; without it lengths are drawn from a distribution of the same kind.

    tests/benchmarks/bench_training.py [--json] [--durations vox1_dev_duration.txt.gz] [--dir /tmp]
"""

import argparse
import gzip
import json
import os
import struct
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import torch.nn.functional as F

from deepspeaker import training
from deepspeaker.archive import append
from deepspeaker.batches import Ahead, TrainingSet
from deepspeaker.config import BatchConfig, config_from_tables, load_config
from deepspeaker.losses.triplet import MINING, triplet_loss

CONF = Path(__file__).resolve().parents[2] / "egs/voxceleb/conf"
BINS, FILES, UTTERANCES, SPEAKERS = 64, 32, 148_642, 1_211
WINDOWS = BatchConfig(min_frames=200, max_frames=200, speaker_weight="even")


def lengths(durations: Path | None) -> dict[str, int]:
    """Frames of each utterance of a corpus like VoxCeleb1."""
    if durations:
        opened = gzip.open(durations, "rt") if durations.suffix == ".gz" else durations.open()
        with opened as file:
            return {name.replace("/", "-"): int(float(seconds) * 100) - 2 for name, seconds in map(str.split, file)}
    rng = np.random.default_rng(0)
    seconds = np.minimum(145.0, 3.9 + rng.gamma(0.9, 4.8, UTTERANCES))  # VoxCeleb1: at least 4 s, 8.2 s on average
    return {f"id{i % SPEAKERS:05d}-{i:06d}": int(100 * s) - 2 for i, s in enumerate(seconds)}


def make_corpus(directory: Path, frames: dict[str, int], vad: bool) -> None:
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
                if vad:
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
    rates = []
    for _ in range(2):
        start = time.perf_counter()
        for step in range(batches):
            data.draw(np.random.default_rng(step), 64, 1, WINDOWS)
        rates.append(64 * batches / (time.perf_counter() - start))
    return {"utterances": len(data.features), "windows_per_second": rates[1], "target": 40_000,
            "windows_per_second_first_seen": rates[0], "open_seconds": opened,
            "memory_gb": anonymous_memory() - before, "target_memory_gb": 1.0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--durations", type=Path)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()

    results = {}
    torch.set_num_threads(1)
    frames = lengths(args.durations)
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        make_corpus(Path(folder), frames, vad=True)
        results["drawing"] = bench_drawing(Path(folder), vad=False)
        results["drawing_vad"] = bench_drawing(Path(folder), vad=True)
    print(json.dumps(results, indent=1))


main()
