"""The parts of tests/gpu.sh that are timed: each has the GPU to itself."""

import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from gpu_table import Row
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training_steps import (
    CHANGED,
    FROM_FEATURES,
    PAPERS_GRU,
    SPEAKERS,
    begin,
    begin_on,
    compile_again,
    configure,
    epoch,
    gflop,
    is_compiled,
    loop_and_bare,
    matrix_rate,
    mining_seconds,
    network_of,
    random_batch,
    random_corpus,
    random_sound,
    seconds,
    step,
    synchronize,
)

from deepspeaker.config import BatchConfig
from deepspeaker.extraction.embed import embed_set
from deepspeaker.extraction.fbank import compute_fbank
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.losses.triplet import MINING

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
NETWORKS = {  # name -> file of conf/, changes of it, frames of a window
    "rescnn": ("deep_speaker.toml", "", 160), "gru": ("deep_speaker.toml", PAPERS_GRU, 160),
    "resnet34": ("resnet34.toml", "", 200), "ecapa": ("ecapa.toml", "", 200), "small": ("small.toml", "", 130)}
BATCHES = dict.fromkeys(NETWORKS, (64, 256, 1024, 4096)) | {"rescnn": (64, 128, 256, 512, 1024, 2048, 4096),
                                                                "small": (32, 64, 256, 1024, 4096)}
COMPILED = {"rescnn": (64, 1024), "small": (32, 256)}


def sized(gpu, cpu):
    """What a GPU gets, or what tries the code on a CPU."""
    return gpu if CUDA else cpu


def aim(value: float) -> float | None:
    """An aim of a GPU."""
    return value if CUDA else None


def forget() -> None:
    """Give memory back, and measure its peak from here."""
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb() -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if CUDA else 0.0


def timed(function: Callable[[], object]) -> float:
    """Seconds until the device has done it."""
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - start


def kernels_of(run, batch) -> tuple[float, float]:
    """Number of kernels of a step, and the seconds that they take. On a CPU, of its operations."""
    activity, kind = sized((ProfilerActivity.CUDA, DeviceType.CUDA), (ProfilerActivity.CPU, DeviceType.CPU))
    steps = sized(5, 1)
    with profile(activities=[activity]) as profiled:
        for _ in range(steps):
            step(run, batch)
        synchronize()
    found = [event.time_range.elapsed_us() for event in profiled.events()
             if event.device_type == kind and not event.is_user_annotation]
    return len(found) / steps, sum(found) / 1e6 / steps


def measure(run, batch, full_rate: float, profiled: bool) -> dict[str, float]:
    """Steps on one batch. full_rate: utterances a second at the rate of matrix products. busy: the share of an
    undisturbed step's time that the profiler finds in kernels."""
    for _ in range(sized(3, 1)):
        step(run, batch)
    steps = max(3, min(100, int(1 / seconds(run, batch, 1)))) if CUDA else 1
    took, windows = seconds(run, batch, steps), len(batch.features)
    found = {"share": windows / took / full_rate, "utt/s": windows / took, "ms": 1e3 * took, "GB": peak_gb()}
    if profiled:
        number, working = kernels_of(run, batch)
        found |= {"kernels": number, "busy": working / took}
    return found


def device() -> Iterator[Row]:
    """Which GPU, and its own rates."""
    yield Row("PyTorch", torch.__version__, more={"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()})
    if CUDA:
        properties = torch.cuda.get_device_properties(0)
        yield Row(f"{properties.name}: GB of memory", properties.total_memory / 1e9)
        data = torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE)
        copy = torch.empty_like(data)
        took = min(timed(lambda: copy.copy_(data)) for _ in range(10))
        yield Row("memory: TB/s, read and written", 2 * data.numel() / took / 1e12)
    yield Row("products of bf16 matrices: TFLOP/s", matrix_rate(DEVICE, sized(8192, 256)))


def rates() -> Iterator[Row]:
    """Steps on batches of random values that are on the device."""
    matrix, best, failed = matrix_rate(DEVICE, sized(8192, 256)), 0.0, None
    for name, (conf, changes, frames) in NETWORKS.items():
        config, frames = configure(conf, changes), sized(frames, 32)
        gflops = gflop(config, frames)
        for windows in sized(BATCHES[name], (4,)):
            what = f"{name} {windows} x {frames}: share of matrix rate"
            try:
                run, batch = begin(config, "softmax", DEVICE), random_batch(config, windows, frames, DEVICE)
                found = measure(run, batch, matrix * 1e3 / gflops, profiled=windows <= 256)
            except RuntimeError as error:
                failed = failed if isinstance(error, torch.OutOfMemoryError) else error
                yield Row(what, type(error).__name__)
                continue
            finally:
                run = batch = None
                forget()
            share = found.pop("share")
            best = max(best, share) if name == "rescnn" else best
            yield Row(what, share, more=found)
            if name == "small" and "busy" in found:
                yield Row(f"{what.partition(':')[0]}: share of time busy", found["busy"],
                          at_least=aim(0.9) if windows == 256 else None)
    yield Row("rescnn, best share of matrix rate", best, at_least=aim(0.3))
    if failed:
        raise failed


@contextmanager
def compiler():
    """On a CPU one that takes no minutes."""
    with nullcontext() if CUDA else patch.object(torch, "compile", partial(torch.compile, backend="eager")):
        yield


def begin_compiled(name: str, windows: int):
    """A run with [training] compile, for batches of so many windows; seconds to compile."""
    conf, changes, _ = NETWORKS[name]
    changes += sized("", " softmax.min_frames=32 softmax.max_frames=32")
    torch._dynamo.reset()
    forget()
    config = configure(conf, f"{changes} training.compile=true softmax.speakers={windows} softmax.utterances=1")
    start = time.perf_counter()
    run = begin(config, "softmax", DEVICE)
    return run, time.perf_counter() - start


def compiling(name: str) -> Iterator[Row]:
    """Fills the compiler's cache; other parts may run beside it."""
    for windows in sized(COMPILED[name], (4,)):
        with compiler():
            run, took = begin_compiled(name, windows)
        yield Row(f"{name} {windows}: compiles", float(is_compiled(run)), at_least=1, more={"s": took})


def compiled() -> Iterator[Row]:
    """As rates, compiled; and by CUDA graphs, which a configuration cannot ask for."""
    matrix, best = matrix_rate(DEVICE, sized(8192, 256)), 0.0
    for name in sized(COMPILED, ("small",)):
        for windows in sized(COMPILED[name], (4,)):
            with compiler():
                run, took = begin_compiled(name, windows)
            frames = sized(NETWORKS[name][2], 32)
            batch = random_batch(run.config, windows, frames, DEVICE)
            one = matrix * 1e3 / gflop(run.config, frames)
            for mode in (None, "reduce-overhead") if name == "small" else (None,):
                if mode:
                    with compiler():
                        compile_again(run, mode)
                found = measure(run, batch, one, profiled=windows <= 256)
                share = found.pop("share")
                best = max(best, share) if name == "rescnn" else best
                yield Row(f"{name} {windows} x {frames}, {mode or 'compiled'}: share", share,
                          more=found | {"compiled": is_compiled(run), "s from cache": took})
            yield Row(f"{name} {windows}: slowest first step of a length, s", slowest_length(run, windows))
    yield Row("rescnn, best share of matrix rate, compiled", best, at_least=aim(0.35))


def slowest_length(run, windows: int) -> float:
    """Seconds of the slowest first step with windows of a length: many, where each length is compiled anew."""
    lengths = range(run.settings.min_frames, run.settings.max_frames + 1, 10)
    return max(seconds(run, random_batch(run.config, windows, frames, DEVICE), 1) for frames in lengths)


@contextmanager
def placed(conf: str, phase: str, place: str, steps: int, augment: str = FROM_FEATURES):
    """A run on random data, with archives "resident" on the GPU or "mapped", and its training set."""
    none_free = patch.object(torch.cuda, "mem_get_info", lambda device: (0, 0))
    with tempfile.TemporaryDirectory() as folder, none_free if place == "mapped" else nullcontext():
        random_corpus(Path(folder), SPEAKERS, utterances=sized(4, 2), frames=sized(250, 60), bins=64)
        if augment != FROM_FEATURES:
            random_sound(Path(folder), frames=sized(250, 60))
        tiny = sized("", " ".join(f"{phase}.{key}" for key in ("speakers=4", "min_frames=32", "max_frames=32")))
        yield begin_on(Path(folder), configure(conf, (
            f"{tiny} {augment} features.vad=false {phase}.steps_per_epoch={steps} {phase}.learning_rate=0.0001 "
            f"{phase}.final_learning_rate=0.0001 training.checkpoint_minutes=1e6")), phase, DEVICE)


def loop() -> Iterator[Row]:
    """What fit() does, with its gauges and its data, against what must be computed."""
    for name in sized(("rescnn", "small"), ("small",)):
        for place in ("resident", "mapped"):
            with placed(NETWORKS[name][0], "softmax", place, steps=sized(100, 2)) as (run, data):
                found = loop_and_bare(run, data, rounds=sized(3, 1))
            yield Row(f"{name} {run.settings.speakers}, {place}: bare step / loop", found.pop("loop_of_bare"),
                      at_least=aim(0.98) if (name, place) == ("rescnn", "resident") else None, more=found)
    for place in ("resident", "mapped"):
        conf = NETWORKS[sized("rescnn", "small")][0]
        with placed(conf, "softmax", place, sized(100, 2), CHANGED["all"]) as (run, data):
            found = loop_and_bare(run, data, rounds=sized(3, 1))
        yield Row(f"out of sound, all changes, {place}: bare step / loop", found.pop("loop_of_bare"),
                  at_least=aim(0.97), more=found)


def sound() -> Iterator[Row]:
    """What a second of sound costs until it is features, all changes on, 64 windows of 2 s."""
    for place in ("resident", "mapped"):
        with placed("small.toml", "softmax", place, 2, CHANGED["all"]) as (_, data):
            size = BatchConfig(speakers=64, utterances=1, min_frames=sized(200, 50), max_frames=sized(200, 50),
                               speaker_weight="even")
            draw = partial(data.draw, np.random.default_rng(0), size)
            took = min(timed(draw) for _ in range(10))
            yield Row(f"{place}: microseconds for a second of sound", 1e6 * took / (64 * sized(2.0, 0.5)),
                      at_most=aim(20.0))


def waits() -> Iterator[Row]:
    """Where PyTorch says that the host waits for the GPU in an epoch of training."""
    steps = sized(50, 2)
    for phase in ("softmax", "triplet"):
        for place in ("resident", "mapped"):
            with placed("small.toml", phase, place, steps) as (run, data):
                epoch(run, data)
                with synchronizations() as found:
                    epoch(run, data)
            main, drawing = (found[thread] for thread in ("main", "drawing"))
            yield Row(f"{phase}, {place}: waits of a step", main.total() / steps, at_most=0,
                      more={"beside, drawing": drawing.total() / steps, **main, **drawing})


@contextmanager
def synchronizations():
    """Places of the waits of the thread that asks, and of others."""
    found = {"main": Counter(), "drawing": Counter()}
    asking = threading.current_thread()

    def note(message, category, filename, line, *_):
        if "called a synchronizing" in str(message):
            thread = "main" if threading.current_thread() is asking else "drawing"
            found[thread][f"{Path(filename).name}:{line}"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        if CUDA:
            torch.cuda.set_sync_debug_mode("warn")
        yield found
        if CUDA:
            torch.cuda.set_sync_debug_mode("default")


def fbank() -> Iterator[Row]:
    """Features of samples that are on the device."""
    for recordings, length in sized(((1, 600), (64, 10), (512, 10)), ((2, 2),)):
        samples = 0.1 * torch.randn(recordings, length * 16000, generator=torch.Generator().manual_seed(0)).to(DEVICE)
        ask = partial(compute_fbank, samples, 16000, 64, 20.0, 0.0, True)
        took = min(timed(ask) for _ in range(6))
        yield Row(f"{recordings} x {length} s: times real time", recordings * length / took,
                  at_least=aim(50_000) if recordings == 512 else None)


def embeddings() -> Iterator[Row]:
    """Of utterances of 8 s, read from archives, as stage 5 computes them."""
    config = configure("small.toml")
    with tempfile.TemporaryDirectory() as folder:
        random_corpus(Path(folder), sized(512, 2), utterances=8, frames=800, bins=64)
        features = FeatureSet(folder, config.features)
        network, which = network_of(config).eval().to(DEVICE), [*range(len(features))] * sized(4, 1)

        def run(count: int) -> None:
            assert len(list(embed_set(network, features, which[:count], config, DEVICE))) == count

        run(sized(1024, 8))
        yield Row("small.toml: embeddings a second", len(which) / timed(partial(run, len(which))), at_least=aim(20_000))


def mining() -> Iterator[Row]:
    """The triplet loss of 4,096 embeddings and its gradient."""
    for kind in MINING:
        forget()
        took = mining_seconds(kind, sized(512, 8), DEVICE)
        yield Row(f"{kind}: ms", 1e3 * took, at_most=aim(50), more={"GB": peak_gb()})
