#!/usr/bin/env python3
"""Speed of a trained model in use, with two threads and the network of conf/small.toml (its weights do not matter).

    tests/benchmarks/bench_tool.py [--json] [WAVS]

WAVS: a folder of speech of 2 to 15 s (default: synthetic speech). Measures `verify` of two files of 5 s from a cold
start, as a process of its own, beside a process that only imports torch; each further pair; and `embed` of 1,000
files and a loop over `m.embed` file by file, in turn, the best of each, with the largest difference of their
embeddings. Last, four processes enrol and identify at once, 200 calls. Another process on a core slows the loop more
than `embed`: measure on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

THREADS = "2"
os.environ["OMP_NUM_THREADS"] = THREADS  # before torch is imported

from packages import require  # noqa: E402

require(__file__)

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from tools import voice  # noqa: E402

from deepspeaker.checkpoint import save, write_model  # noqa: E402
from deepspeaker.config import load_config, set_values  # noqa: E402
from deepspeaker.inference import speaker_database  # noqa: E402
from deepspeaker.inference.bulk import embed_all  # noqa: E402
from deepspeaker.inference.model import load  # noqa: E402
from deepspeaker.models.networks import build_network  # noqa: E402

RATE, FILES, ROUNDS, PAIRS, PROCESSES, CALLS = 16000, 1000, 2, 20, 4, 50
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
Figures = dict[str, float]


def seconds_of(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def small_model(folder: Path) -> Path:
    config = set_values(load_config(ROOT / "egs/voxceleb/conf/small.toml"), ['scoring.backends=["cosine"]'])
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options)
    save(folder / "final.pt", {"config": config.as_tables(), "model": network.state_dict()})
    calibration = {"cosine": {"prior": 0.01, "offset": -10.0, "weights": {"score": 20.0}}}
    write_model(folder / "model.pt", folder / "final.pt", config, {"calibration": calibration})
    return folder / "model.pt"


def synthetic(folder: Path) -> list[Path]:
    """Files of 2 to 15 s, of 50 voices."""
    rng = np.random.default_rng(0)
    speech = [voice(n, seconds=15.0) for n in range(50)]
    for n in range(FILES):
        samples = speech[n % 50][:int(rng.uniform(2, 15) * RATE)]
        soundfile.write(folder / f"u{n:04d}.wav", samples, RATE)
    return sorted(folder.glob("u*.wav"))


def verify(path: Path, folder: Path) -> Figures:
    pair = []
    for n in range(2):
        soundfile.write(folder / f"pair{n}.wav", voice(n, seconds=5.0), RATE)
        pair.append(str(folder / f"pair{n}.wav"))
    words = [sys.executable, "-m", "deepspeaker", "verify", str(path), *pair]
    cold, bare = [], []
    for _ in range(ROUNDS):
        bare.append(seconds_of(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True)))
        cold.append(seconds_of(lambda: subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL)))
    model = load(path)
    model.verify(*pair)
    each = [seconds_of(lambda: model.verify(*pair)) for _ in range(PAIRS)]
    return {"verify_cold_seconds": min(cold), "import_torch_seconds": min(bare),
            "verify_further_milliseconds": 1000 * sorted(each)[PAIRS // 2]}


def embed(path: Path, wavs: list[Path]) -> Figures:
    model, names = load(path), [str(wav) for wav in wavs]

    loop, bulk = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        one_by_one = [model.embed(*soundfile.read(name, dtype="float32")) for name in names]
        middle = time.perf_counter()
        found = dict(embed_all(model, names))
        loop.append(middle - start)
        bulk.append(time.perf_counter() - middle)
    theirs, ours = min(loop), min(bulk)
    apart = max(np.abs(found[i] - embedding).max() for i, embedding in enumerate(one_by_one))
    return {"embed_files": len(names), "embed_files_a_second": len(names) / ours, "embed_times_loop": theirs / ours,
            "embed_apart_max": float(apart)}


def enrol(path: Path, folder: Path) -> Figures:
    program = f"""
import sys
from deepspeaker.inference.model import load
from deepspeaker.inference import speaker_database
model = load({str(path)!r})
heard = model.listen({str(folder / "pair0.wav")!r})
for n in range({CALLS // 2}):
    speaker_database.enroll({str(folder / "people.db")!r}, model, f"p{{sys.argv[1]}}-{{n}}", [heard])
    people = speaker_database.recordings({str(folder / "people.db")!r}, model)
    assert f"p{{sys.argv[1]}}-{{n}}" in people and len(model.llr([*people.values()], heard)) == len(people)
"""
    start = time.perf_counter()
    processes = [subprocess.Popen([sys.executable, "-c", program, str(n)], env={**ENVIRONMENT, "OMP_NUM_THREADS": "1"})
                 for n in range(PROCESSES)]
    failed = sum(process.wait() != 0 for process in processes)
    found = speaker_database.speakers(folder / "people.db", load(path))
    return {"database_calls": PROCESSES * CALLS, "database_failed_processes": failed,
            "database_lost": PROCESSES * CALLS // 2 - len(found), "database_seconds": time.perf_counter() - start}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wavs", type=Path, nargs="?", metavar="WAVS")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    torch.set_num_threads(int(THREADS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wavs = sorted(args.wavs.rglob("*.wav"))[:FILES] if args.wavs else synthetic(folder)
        path = small_model(folder)
        figures = verify(path, folder) | embed(path, wavs) | enrol(path, folder)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        print("\n".join(f"{name:34s} {value:12.5g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
