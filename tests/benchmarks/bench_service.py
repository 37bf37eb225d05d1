#!/usr/bin/env python3
"""Speed of `deepspeaker serve` on two cores: one client that asks again and again, then sixteen at once.

    tests/benchmarks/bench_service.py [--json] [--seconds 60] [MODEL]

MODEL: a model.pt (default: the network of conf/small.toml; its weights do not matter). Each request sends a WAV of 2 to
10 s of synthetic speech to /v1/embeddings. The clients are threads of this process, which needs some of the two cores
itself. Every answer is compared with the embeddings that `deepspeaker embed` writes. Another program on a core spoils
the comparison: measure on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from packages import require

require(__file__)

import numpy as np  # noqa: E402
from bench_tool import ENVIRONMENT, small_model  # noqa: E402
from conftest import write_wav  # noqa: E402
from service import Server, serving  # noqa: E402
from tools import voice  # noqa: E402

CORES, CLIENTS, FILES, WRONG = 2, 16, 64, 1e-5
Figures = dict[str, float]


def client(server: Server, files: list[bytes], expected: np.ndarray, until: float, seed: int, found: list) -> None:
    """Send files, drawn at random, until the time has come; adds (seconds, difference) of each, or what went wrong."""
    rng = np.random.default_rng(seed)
    while (start := time.perf_counter()) < until:
        i = int(rng.integers(len(files)))
        try:
            answer = server.ask("POST", "/v1/embeddings", [("recording", files[i])])
            seconds = time.perf_counter() - start
            found.append((seconds, float(np.abs(np.array(answer.json["embedding"]) - expected[i]).max())))
        except (OSError, KeyError, TypeError) as error:
            found.append(error)


def load(server: Server, files: list[bytes], expected: np.ndarray, clients: int, seconds: float) -> Figures:
    """What so many clients get in so many seconds."""
    found: list = []
    start = time.perf_counter()
    threads = [threading.Thread(target=client, args=(server, files, expected, start + seconds, n, found))
               for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    answers = [each for each in found if isinstance(each, tuple)]
    times, differences = np.array(answers).T
    return {"requests": len(found), "lost": len(found) - len(answers), "wrong": int((differences > WRONG).sum()),
            "largest_difference": float(differences.max()), "per_second": len(answers) / took,
            "median_ms": 1000 * float(np.median(times)), "p99_ms": 1000 * float(np.percentile(times, 99)),
            "longest_ms": 1000 * float(times.max())}


def measure(model: Path, folder: Path, seconds: float) -> dict[str, Figures]:
    lengths = np.random.default_rng(0).uniform(2, 10, FILES)
    wavs = [write_wav(folder / f"{n}.wav", voice(n, 0, float(length))) for n, length in enumerate(lengths)]
    command = [sys.executable, "-m", "deepspeaker", "embed", model, *wavs, "-o", folder / "expected.npy"]
    subprocess.run([*map(str, command)], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    expected, files = np.load(folder / "expected.npy"), [wav.read_bytes() for wav in wavs]
    with serving(model, folder / "people.db", "--workers", CORES) as server:
        load(server, files, expected, CORES, 3.0)  # warm
        before = server.memory()
        alone = load(server, files, expected, 1, seconds / 3)
        together = load(server, files, expected, CLIENTS, seconds)
        return {"one client": alone, f"{CLIENTS} clients": together, "ratios": {
            "throughput": together["per_second"] / alone["per_second"],
            "p99_over_median": together["p99_ms"] / together["median_ms"],
            "memory_more_mb": server.memory() - before}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the sixteen clients (default: 60)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = measure(args.model or small_model(folder), folder, args.seconds)
    if args.json:
        print(json.dumps(figures, indent=1))
        return
    for title, found in figures.items():
        print(title)
        print("\n".join(f"  {name:20s} {value:12.4g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
