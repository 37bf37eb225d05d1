#!/usr/bin/env python3
"""Speed of scoring and of metrics, on one core: 1,000,000 trials over 20,000 embeddings of 512 dimensions, 100 million
scores, and the bootstrap of VoxCeleb1-O's 37,611 trials (--trials: its list, else one of its shape is drawn).

Each figure stands beside what it is compared with, measured in the same run.

    tests/benchmarks/bench_scoring.py [--json] [--trials veri_test_o_cleaned.txt.gz]
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ.update(ONE_CORE)  # before numpy is imported

from packages import require  # noqa: E402

require(__file__)

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
from deepspeaker.datadir.archive import write_vectors  # noqa: E402
from deepspeaker.metrics.bootstrap import RESAMPLES, draws, resampled  # noqa: E402
from deepspeaker.metrics.describe import compute_metrics, score_metrics  # noqa: E402
from deepspeaker.metrics.rates import eer, min_dcf, rank  # noqa: E402
from deepspeaker.scoring.cosine import cosine  # noqa: E402
from deepspeaker.scoring.inputs import read_task  # noqa: E402
from deepspeaker.scoring.scorer import score_pairs  # noqa: E402

UTTERANCES, SPEAKERS, DIMENSIONS, TRIALS, COHORT = 20_000, 1_000, 512, 1_000_000, 6_000
LOOP = 3_000  # trials of the loop that is compared with
SCORES = 100_000_000  # held in arrays
COPIED = 20  # resamples of the copying that is compared with
Figures = dict[str, float]


def make_files(folder: Path) -> None:
    """Embeddings of speakers around their own directions, trials of which a tenth are targets, and a cohort."""
    rng = np.random.default_rng(0)
    names = np.array([f"id{n % SPEAKERS:05d}-{n // SPEAKERS:011d}-00001" for n in range(UTTERANCES)])
    centres = rng.standard_normal((SPEAKERS, DIMENSIONS), np.float32)
    vectors = centres[np.arange(UTTERANCES) % SPEAKERS] + 3 * rng.standard_normal((UTTERANCES, DIMENSIONS), np.float32)
    write_vectors(folder / "embedding", dict(zip(names.tolist(), vectors, strict=True)))
    strangers = rng.standard_normal((COHORT, DIMENSIONS), np.float32)
    write_vectors(folder / "cohort", {f"c{n:04d}": vector for n, vector in enumerate(strangers)})
    first = rng.integers(0, UTTERANCES, 2 * TRIALS)
    other = rng.integers(0, UTTERANCES, 2 * TRIALS)
    own = first % SPEAKERS + SPEAKERS * rng.integers(0, UTTERANCES // SPEAKERS, 2 * TRIALS)
    second = np.where(rng.random(2 * TRIALS) < 0.1, own, other)
    _, distinct = np.unique(first * UTTERANCES + second, return_index=True)
    kept = rng.permutation(distinct[first[distinct] != second[distinct]])[:TRIALS]
    label = np.where(first % SPEAKERS == second % SPEAKERS, "target", "nontarget")
    with (folder / "trials").open("w") as file:
        file.writelines(f"{a} {b} {c}\n" for a, b, c in zip(
            names[first[kept]], names[second[kept]], label[kept], strict=True))


def command(*words: object) -> tuple[float, float]:
    """(seconds, highest memory in GB) of a command on one core."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"bench_scoring.py: {' '.join(map(str, words))} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1e6


def cosine_from_files(folder: Path) -> Figures:
    """From embeddings and trials to a score file, and from that to EER and minDCF."""
    trials, scores = folder / "trials", folder / "scores"
    scoring, memory = command("steps/score_trials.py", trials, folder / "embedding.scp", scores)
    metrics, more = command("steps/compute_metrics.py", scores, trials)
    return {"score_trials_seconds": scoring, "compute_metrics_seconds": metrics,
            "files_to_metrics_seconds": scoring + metrics, "files_to_metrics_gb": max(memory, more)}


def against_a_loop(folder: Path) -> Figures:
    """The scoring itself, and a call of scikit-learn's cosine_similarity for each trial."""
    from sklearn.metrics.pairwise import cosine_similarity

    trials, _, compared = read_task(folder / "trials", folder / "embedding.scp", None)
    start = time.perf_counter()
    scores = score_pairs(cosine(compared.embeddings, compared.models), trials.first, trials.second)
    ours = (time.perf_counter() - start) / len(scores)
    rows = compared.models.rows[trials.first[:LOOP]], trials.second[:LOOP]
    start = time.perf_counter()
    slow = [cosine_similarity(compared.embeddings[i:i + 1], compared.embeddings[j:j + 1])[0, 0]
            for i, j in zip(*rows, strict=True)]
    loop = (time.perf_counter() - start) / LOOP
    np.testing.assert_allclose(scores[:LOOP], slow, atol=1e-5)
    return {"scoring_microseconds_a_trial": 1e6 * ours, "loop_microseconds_a_trial": 1e6 * loop,
            "scoring_times_as_fast": loop / ours}


def asnorm_from_files(folder: Path) -> Figures:
    """AS-norm with a cohort of 6,000 of which 300 count, from files to a score file."""
    seconds, memory = command("steps/score_trials.py", "--backend", "asnorm", "--cohort", folder / "cohort.scp",
                              "--cohort-top", 300, folder / "trials", folder / "embedding.scp", folder / "asnorm")
    return {"asnorm_seconds": seconds, "asnorm_gb": memory}


def large_list(targets: float, kind: str) -> Figures:
    """EER and minDCF of 100 million scores held in arrays, of which a share are targets; and sorting them alone."""
    rng = np.random.default_rng(0)
    labels = rng.random(SCORES, np.float32) < targets
    scores = rng.standard_normal(SCORES, kind)
    scores += np.multiply(labels, 3, dtype=np.int8)
    start = time.perf_counter()
    ranking = rank(scores, labels)
    eer(ranking), min_dcf(ranking, 0.01), min_dcf(ranking, 0.001)
    ours, memory = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    del ranking, labels
    start = time.perf_counter()
    scores.sort()
    name = f"{kind}_{targets:g}_targets"
    return {f"{name}_seconds": ours, f"{name}_gb": memory, f"{name}_times_a_sort": ours / (time.perf_counter() - start)}


def large_lists() -> Figures:
    """Each in a process of its own, whose highest memory is that of the arrays, their making, and the metrics."""
    found: Figures = {}
    for targets, kind in ((0.01, "float32"), (0.01, "float64"), (0.5, "float64")):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found |= pool.submit(large_list, targets, kind).result()
    return found


def voxceleb_list(path: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """(speakers (n, 2), labels (n,)) of VoxCeleb's list (`1|0 path path`, gzip or text), else of one of its shape."""
    if path is None:
        rng, speakers = np.random.default_rng(0), 40
        labels = np.arange(37_611) < 18_802
        first = rng.integers(speakers, size=len(labels))
        second = (first + np.where(labels, 0, rng.integers(1, speakers, len(labels)))) % speakers
        return np.stack([first, second], 1), labels
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as file:
        rows = [line.split() for line in file]
    speaker = [[name.split("/")[0] for name in row[1:]] for row in rows]
    return np.unique(speaker, return_inverse=True)[1].reshape(-1, 2), np.array([row[0] == "1" for row in rows])


def bootstrap(trials: Path | None) -> Figures:
    """All resamples of VoxCeleb1-O: every metric of scores, then those of likelihood ratios, too; and EER and minDCF
    of a resample, beside copying its trials and sorting them anew."""
    speakers, labels = voxceleb_list(trials)
    rng = np.random.default_rng(0)
    scores = rng.normal(np.where(labels, 4.4, 0)) + rng.normal(0, 0.5, speakers.max() + 1)[speakers].sum(1)
    compute_metrics(scores[-2:], np.array([True, False]), scores[-2:])  # imports scikit-learn
    times = []
    for llr in (None, 2 * scores - 4):
        start = time.perf_counter()
        compute_metrics(scores, labels, llr, speakers)
        times.append(time.perf_counter() - start)
    metrics = {name: score_metrics()[name] for name in ("eer", "min_dcf_0.01", "min_dcf_0.001")}
    start = time.perf_counter()
    ours = resampled(scores, labels, speakers, metrics)
    weighted = (time.perf_counter() - start) / RESAMPLES
    start = time.perf_counter()
    for n, counts in enumerate(draws(speakers.max() + 1, COPIED, 0)):
        weight = np.where(labels, counts[speakers[:, 0]], counts[speakers].prod(1))
        ranking = rank(np.repeat(scores, weight), np.repeat(labels, weight))
        for name, metric in metrics.items():
            np.testing.assert_allclose(metric(ranking), ours[name][n])
    copied = (time.perf_counter() - start) / COPIED
    return {"bootstrap_seconds": times[0], "bootstrap_with_llr_seconds": times[1],
            "resample_milliseconds": 1000 * weighted, "resample_times_as_fast_as_copying": copied / weighted}


BENCHMARKS: list[Callable[[Path], Figures]] = [cosine_from_files, asnorm_from_files, against_a_loop]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=Path, metavar="FILE", help="VoxCeleb1-O: lines `1|0 path path`, text or gzip")
    args = parser.parse_args()

    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a command's memory is at least that of its parent
            pool.submit(make_files, Path(folder)).result()
        for benchmark in BENCHMARKS:
            figures |= benchmark(Path(folder))
    figures |= large_lists() | bootstrap(args.trials)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        print("\n".join(f"{name:32s} {value:10.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
