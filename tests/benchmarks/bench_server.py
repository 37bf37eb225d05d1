#!/usr/bin/env python3
"""Memory of a model in a server, in MB: loaded and warm, a forked worker more, a thread more, a long recording.

    tests/benchmarks/bench_server.py [--json] [MODEL]

MODEL: a model.pt (default: the network of conf/small.toml; its weights do not matter). Hears synthetic speech, with two
threads of PyTorch.
"""

import argparse
import json
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from packages import require

require(__file__)

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
from bench_tool import RATE, small_model  # noqa: E402
from tools import voice  # noqa: E402

from deepspeaker.inference.model import Model, load  # noqa: E402

SECONDS, MINUTES, THREADS, WORKERS = 10, 10, 4, 2
Figures = dict[str, float]


def megabytes(name: str, file: str = "status") -> float:
    """A line of /proc/self/`file`: VmRSS is what is in memory now, VmHWM the most so far, Pss counts a page that
    n processes share as 1/n."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/self/{file}").read_text(), re.MULTILINE)
    return int(found[1]) / 1000


def own() -> float:
    """What this process shares with no other."""
    return megabytes("Private_Clean", "smaps_rollup") + megabytes("Private_Dirty", "smaps_rollup")


def answer(model: Model, sound: Path, report) -> None:
    """In a forked worker."""
    for _ in range(3):
        model.listen(sound)
    report.put(own())


def measure(path: Path, folder: Path) -> Figures:
    """All of it in this process, the largest last."""
    short, long = folder / "short.wav", folder / "long.wav"
    speech = voice(0, seconds=float(SECONDS))
    soundfile.write(short, speech, RATE)
    soundfile.write(long, np.tile(speech, 60 * MINUTES // SECONDS), RATE)
    figures = {"python_and_torch": megabytes("VmRSS")}
    model = load(path)
    figures["loaded"] = megabytes("VmRSS")
    for _ in range(3):
        model.listen(short)
    figures["warm"] = before = megabytes("VmRSS")

    context = get_context("fork")
    report = context.Queue()
    workers = [context.Process(target=answer, args=(model, short, report)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    figures["forked_worker_more"] = sum(report.get(timeout=60) for _ in workers) / WORKERS
    for worker in workers:
        worker.join()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(model.listen, [short] * 10 * THREADS))
        figures["thread_more"] = (megabytes("VmRSS") - before) / THREADS
    before = megabytes("VmRSS")
    model.listen(long)
    return figures | {f"recording_of_{MINUTES}_minutes_more": megabytes("VmHWM") - before}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = measure(args.model or small_model(folder), folder)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        print("\n".join(f"{name:34s} {value:8.1f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
