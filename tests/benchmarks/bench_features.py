#!/usr/bin/env python3
"""Speed of stage 2 and of its archives on one thread, beside a loop of soundfile, kaldi-native-fbank and kaldiio.

    tests/benchmarks/bench_features.py [--json] [WAVS]

WAVS: a folder of 16 kHz WAV files, at most 500 of which are read (default: files of synthetic speech). The rounds of
what is compared alternate, and the best of each counts. Also says how far our features are from kaldi-native-fbank's,
and, where there is a GPU, how fast it computes them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy is imported
    os.environ[name] = "1"

from packages import require  # noqa: E402

require(__file__)

import kaldi_native_fbank  # noqa: E402
import kaldiio  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
from deepspeaker.audio import read_audio  # noqa: E402
from deepspeaker.config import load_config  # noqa: E402
from deepspeaker.datadir import write_table  # noqa: E402
from deepspeaker.datadir.archive import MatrixTable, append  # noqa: E402
from deepspeaker.extraction.fbank import compute_fbank  # noqa: E402
from deepspeaker.extraction.make_features import Places, make_share  # noqa: E402

RATE, BINS, FILES, ROUNDS = 16000, 64, 500, 4
WINDOW, BATCH = 200, 64  # frames of a window, windows of a batch
ARCHIVES, MATRICES, FRAMES = 4, 4900, 820  # half a gigabyte of 64 bins and 16 bits
NEAR = np.log(1e6)  # bins within 60 dB of their frame's strongest are compared
Figures = dict[str, float]


def best(*candidates: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Seconds of each candidate, the best of rounds in which they alternate."""
    found = [float("inf")] * len(candidates)
    for _ in range(rounds):
        for i, candidate in enumerate(candidates):
            start = time.perf_counter()
            candidate()
            found[i] = min(found[i], time.perf_counter() - start)
    return found


def each(function: Callable, items: Iterable) -> Callable[[], None]:
    """A candidate that calls a function with each item and keeps nothing."""
    return lambda: deque(map(function, items), maxlen=0)


def reference_fbank(samples: np.ndarray) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = BINS
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(RATE, samples * 32768)
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def our_fbank(samples: np.ndarray) -> torch.Tensor:
    return compute_fbank(torch.from_numpy(samples), RATE, BINS, 20.0, 0.0, True)[0]


def fbank_alone(wavs: Sequence[Path], folder: Path) -> Figures:
    """The fbank function on samples in memory; how far the two are apart."""
    samples = [soundfile.read(wav, dtype="float32")[0] for wav in wavs]
    seconds = sum(map(len, samples)) / RATE
    theirs, ours = best(each(reference_fbank, samples), each(our_fbank, samples))
    apart = []
    for x in samples:
        expected = reference_fbank(x)
        apart.append(np.abs(our_fbank(x).numpy() - expected)[expected > expected.max(1, keepdims=True) - NEAR])
    apart = np.concatenate(apart)
    return {"fbank_times_real_time": seconds / ours, "fbank_reference_times_real_time": seconds / theirs,
            "fbank_times_reference": theirs / ours, "fbank_apart_max": float(apart.max()),
            "fbank_apart_mean": float(apart.mean())}


def stage_2(wavs: Sequence[Path], folder: Path) -> Figures:
    """One job of stage 2 from wav.scp to archives, the reference loop, and reading and decoding alone."""
    data = folder / "data"
    data.mkdir()
    write_table(data / "wav.scp", {f"u{n:05d}": wav for n, wav in enumerate(wavs)})
    config = load_config(ROOT / "egs/voxceleb/conf/deep_speaker.toml").features
    places = Places("data", folder, folder)

    def loop() -> None:
        with kaldiio.WriteHelper(f"ark,scp:{folder}/r.ark,{folder}/r.scp", compression_method=3) as writer:
            for n, wav in enumerate(wavs):
                writer(f"u{n:05d}", reference_fbank(soundfile.read(wav, dtype="float32")[0]))

    def job() -> None:
        for record in folder.glob("piece_*"):
            record.unlink()
        make_share(data, config, places, 1, 1)

    theirs, ours, reading = best(loop, job, each(partial(soundfile.read, dtype="float32"), wavs))
    seconds = sum(soundfile.info(wav).duration for wav in wavs)
    return {"stage_2_times_real_time": seconds / ours, "stage_2_times_reference": theirs / ours,
            "reading_times_reference": theirs / reading, "stage_2_share_of_reading": reading / ours}


def windows(wavs: Sequence[Path], folder: Path) -> Figures:
    """Random windows of mapped CM2 archives, and kaldiio reading an utterance and cutting."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((FRAMES, BINS)).astype(np.float32)
    table = {}
    for number in range(ARCHIVES):
        with (folder / f"w{number}.ark").open("wb") as file:
            for n in range(number, MATRICES, ARCHIVES):
                offset = append(file, f"u{n:05d}", matrix + np.float32(n), compress=True)
                table[f"u{n:05d}"] = f"{folder}/w{number}.ark:{offset}"
    write_table(folder / "w.scp", table)
    mapped, reader = MatrixTable(folder / "w.scp"), kaldiio.load_scp(str(folder / "w.scp"))
    batches = 30
    which = rng.integers(MATRICES, size=(batches, BATCH))
    starts = rng.integers(FRAMES - WINDOW, size=(batches, BATCH))

    def gather() -> None:
        for row, first in zip(which, starts, strict=True):
            mapped.gather(row, [slice(start, start + WINDOW) for start in first.tolist()])

    def read_and_cut() -> None:
        for i, start in zip(which[:4].ravel().tolist(), starts[:4].ravel().tolist(), strict=True):
            np.array(reader[mapped.keys[i]][start:start + WINDOW], np.float32)

    gather()
    ours, theirs = best(gather, read_and_cut)
    ours, theirs = batches * BATCH / ours, 4 * BATCH / theirs
    return {"windows_a_second": ours, "windows_kaldiio_a_second": theirs, "windows_times_kaldiio": ours / theirs}


def m4a(wavs: Sequence[Path], folder: Path) -> Figures:
    """AAC in M4A, as VoxCeleb2 has it: decoded in process, and by one ffmpeg process an utterance."""
    import av

    for wav in wavs[:40]:
        samples, rate = soundfile.read(wav, dtype="float32")
        with av.open(str(folder / f"{wav.stem}.m4a"), "w") as container:
            stream = container.add_stream("aac", rate=rate, layout="mono")
            for start in range(0, len(samples), 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, start:start + 1024], format="fltp", layout="mono")
                frame.rate = rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    files = sorted(folder.glob("*.m4a"))
    seconds = sum(len(read_audio(str(file), RATE).samples) for file in files) / RATE
    figures = {"m4a_seconds_each": seconds / len(files)}
    entries, decode = [str(file) for file in files], partial(read_audio, rate=RATE)
    if subprocess.run(["which", "ffmpeg"], capture_output=True).returncode:
        print("ffmpeg is not installed: M4A by a process each is not measured", file=sys.stderr)
        return figures | {"m4a_times_real_time": seconds / best(each(decode, entries))[0]}
    pipes = [f"ffmpeg -v 8 -threads 1 -i {entry} -f wav -acodec pcm_s16le -|" for entry in entries]
    ours, theirs = best(each(decode, entries), each(decode, pipes), rounds=3)
    return figures | {"m4a_times_real_time": seconds / ours, "m4a_times_ffmpeg_processes": theirs / ours}


def gpu(wavs: Sequence[Path], folder: Path) -> Figures:
    """A batch of 64 signals of 8 s, already on the GPU."""
    if not torch.cuda.is_available():
        print("no GPU: the fbank is not measured there", file=sys.stderr)
        return {}
    batch = 0.1 * torch.randn(BATCH, 8 * RATE, device="cuda")

    def compute() -> None:
        compute_fbank(batch, RATE, BINS, 20.0, 0.0, True)
        torch.cuda.synchronize()

    compute()
    return {"gpu_fbank_times_real_time": BATCH * 8 / best(compute)[0]}


def synthetic(folder: Path) -> list[Path]:
    """Sound files of the kind the synthetic corpus has."""
    subprocess.run([sys.executable, ROOT / "local/synthetic.py", "--speakers", "10", "--test-speakers", "5",
                    folder / "corpus", folder / "synthetic"], check=True, stdout=subprocess.DEVNULL)
    return sorted((folder / "corpus").rglob("*.wav"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wavs", type=Path, nargs="?", metavar="WAVS")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    torch.set_num_threads(1)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wavs = (sorted(args.wavs.rglob("*.wav")) if args.wavs else synthetic(folder))[:FILES]
        figures["files"], figures["hours"] = len(wavs), sum(soundfile.info(wav).duration for wav in wavs) / 3600
        for benchmark in (fbank_alone, stage_2, windows, m4a, gpu):
            figures |= benchmark(wavs, folder)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        print("\n".join(f"{name:34s} {value:12.5g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
