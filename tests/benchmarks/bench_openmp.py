#!/usr/bin/env python3
"""Two threads of training beside other programs: what it costs that OpenMP's threads spin while they wait.

    tests/benchmarks/bench_openmp.py [--json] [--seconds 3]

Steps a second of the network of conf/small.toml on eight windows of 100 frames: alone, beside a training like it, and
beside four busy loops, all on the same two cores. GOMP_SPINCOUNT has the default of GNU's OpenMP, the value that
deepspeaker sets, and others; the last row has one thread. Medians of three rounds of --seconds, in each of which all
settings take their turn; in brackets how many times the default's. Ends with what deepspeaker's value must reach. Takes
less than five minutes and 4 GB of memory. Nothing else may run on these cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from packages import require

require(__file__)

import torch  # noqa: E402
from training_steps import begin, configure, random_batch, seconds, step  # noqa: E402

from deepspeaker import SPINNING  # noqa: E402

CORES, LOOPS, ROUNDS = 2, 4, 3
WINDOWS, FRAMES = 8, 100  # so few that the threads wait for each other hundreds of times a second
DEFAULT, CHOSEN = "300000", SPINNING["GOMP_SPINCOUNT"]
SETTINGS = [*((spins, CORES) for spins in (DEFAULT, "10000", CHOSEN, "100", "0")), (CHOSEN, 1)]  # spins, threads
ALONE, PAIR, BUSY = "alone", "beside one like it", f"beside {LOOPS} busy loops"
AIMS = {ALONE: 0.95, PAIR: 6.0}  # times the default: at most 5 % lost alone, at least six times as fast beside another
Setting = tuple[str, int]


@contextmanager
def training(spins: str, threads: int) -> Iterator[subprocess.Popen]:
    """A process that has trained a few steps and waits for orders."""
    variables = {**os.environ, "GOMP_SPINCOUNT": spins, "OMP_NUM_THREADS": str(threads)}
    variables.pop("OMP_WAIT_POLICY", None)
    with subprocess.Popen([sys.executable, __file__, "--worker"], env=variables, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process  # it ends when its standard input does


def worker() -> None:
    """For each line of standard input, train for so many seconds and print the steps a second."""
    cpu, config = torch.device("cpu"), configure("small.toml")
    run, batch = begin(config, "softmax", cpu), random_batch(config, WINDOWS, FRAMES, cpu)
    seconds(run, batch, 5)
    print("ready", flush=True)
    for line in sys.stdin:
        start, steps = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < float(line):
            step(run, batch)
            steps += 1
        print(steps / passed, flush=True)


def rate(processes: list[subprocess.Popen], duration: float) -> float:
    """Steps a second of each of some that train at once, their mean."""
    for process in processes:
        process.stdin.write(f"{duration}\n")
        process.stdin.flush()
    return statistics.mean(float(process.stdout.readline()) for process in processes)


@contextmanager
def busy_loops() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOOPS)]
    try:
        time.sleep(0.2)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(duration: float) -> dict[Setting, dict[str, float]]:
    """Steps a second of every setting in every company."""
    found: dict[tuple[Setting, str], list[float]] = defaultdict(list)
    with ExitStack() as stack:
        pairs = {setting: [stack.enter_context(training(*setting)) for _ in range(2)] for setting in SETTINGS}
        for _ in range(ROUNDS):
            for setting, pair in pairs.items():
                found[setting, ALONE].append(rate(pair[:1], duration))
                found[setting, PAIR].append(rate(pair, duration))
                with busy_loops():
                    found[setting, BUSY].append(rate(pair[:1], duration))
    return {setting: {company: statistics.median(found[setting, company]) for company in (ALONE, PAIR, BUSY)}
            for setting in SETTINGS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker()
        return

    cores = sorted(os.sched_getaffinity(0))[:CORES]
    if len(cores) < CORES or "libgomp" not in Path("/proc/self/maps").read_text():
        sys.exit(f"bench_openmp.py needs {CORES} cores, and a PyTorch that computes with GNU's OpenMP (libgomp)")
    os.sched_setaffinity(0, cores)
    found = measure(args.seconds)
    default = found[DEFAULT, CORES]
    times = {company: found[CHOSEN, CORES][company] / default[company] for company in AIMS}
    if args.json:
        rows = [{"spins": spins, "threads": threads, **rates} for (spins, threads), rates in found.items()]
        print(json.dumps({"steps_per_second": rows, "times_default": times, "aims": AIMS}, indent=1))
        return
    print(f"{'GOMP_SPINCOUNT':16s}{'threads':>8s}" + "".join(f"{company:>24s}" for company in default))
    for (spins, threads), rates in found.items():
        print(f"{spins:16s}{threads:8d}" + "".join(
            f"{value:15.1f} ({value / default[company]:6.2f})" for company, value in rates.items()))
    for company, aim in AIMS.items():
        print(f"{CHOSEN} spins {company}: {times[company]:.2f} times the default; at least {aim:g}")


if __name__ == "__main__":
    main()
