#!/usr/bin/env python3
"""What the stages cost for each utterance, hour and trial of a corpus of VoxCeleb1's size: time, memory, disk, files.

Runs the real commands, one process at a time with one thread, on lists as long as VoxCeleb1's: --meta is a folder with
VoxCeleb's own lists, vox1_dev_duration.txt.gz and vox1_tst_duration.txt.gz (`speaker/video/number seconds`) and
veri_test_o_cleaned.txt.gz (`1|0 path path`); without it names, lengths and trials of the same kind are drawn. Stages
that read audio or features do it for --utterances of noise, whose lengths are drawn from the list: about 270 kB each
under --dir, and half of that for features. Stage 1 sees all names, as hard links to a few short files; embeddings are
random. What the stage records cost is measured at both sizes of VoxCeleb, on tables of the names.

    tests/benchmarks/bench_scale.py [--json] [--meta FOLDER] [--utterances 20000] [--dir /tmp]
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ.update(ONE_CORE, PYTHON=sys.executable)  # before numpy is imported

from packages import require  # noqa: E402

require(__file__)

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
from deepspeaker.audio.frames import FRAME_SHIFT  # noqa: E402
from deepspeaker.datadir import write_speakers, write_table  # noqa: E402

CONF = ROOT / "egs/voxceleb/conf/small.toml"
SIZES = {"VoxCeleb1": 153_516, "VoxCeleb1+2": 1_281_762}  # utterances
DEV, TEST, SPEAKERS, TEST_SPEAKERS = 148_642, 4_874, 1_211, 40  # of VoxCeleb1
TRIALS, TRIALS_E = 37_611, 579_818  # of VoxCeleb1-O and VoxCeleb1-E, cleaned
RATE, BINS, DIMENSIONS = 16_000, 64, 512
EMBEDDED = 10  # one of so many utterances is embedded
PIECE = 500  # utterances of an archive that stage 2 writes
LINKS = 60_000  # names of one file; ext4 allows 65,000


class Cost(NamedTuple):
    """What one command took."""

    what: str
    lines: int  # utterances, or trials
    hours: float  # of audio; 0 where the command sees none
    seconds: float
    processor: float  # seconds
    gigabytes: float  # highest memory
    files: int  # left behind
    bytes: int


def lists(meta: Path | None) -> tuple[dict[str, float], dict[str, float]]:
    """(dev, test): `speaker/video/number` -> seconds."""
    if meta:
        return read_lengths(meta / "vox1_dev_duration.txt.gz"), read_lengths(meta / "vox1_tst_duration.txt.gz")
    rng = np.random.default_rng(0)
    seconds = np.minimum(145.0, 3.9 + rng.gamma(0.9, 4.8, DEV + TEST))  # at least 4 s, 8.2 s on average
    names = [f"id{10001 + (n % SPEAKERS if n < DEV else SPEAKERS + n % TEST_SPEAKERS)}/video{n % 20:06d}/{n:06d}"
             for n in range(DEV + TEST)]
    pairs = list(zip(names, seconds.tolist(), strict=True))
    return dict(pairs[:DEV]), dict(pairs[DEV:])


def read_lengths(path: Path) -> dict[str, float]:
    with gzip.open(path, "rt") as file:
        return {name: float(seconds) for name, seconds in map(str.split, file)}


def drawn_trials(names: list[str], count: int) -> Iterator[tuple[str, str, bool]]:
    """Distinct pairs, half of them of one speaker."""
    rng, by_speaker, seen = np.random.default_rng(0), {}, set()
    for name in names:
        by_speaker.setdefault(name[:7], []).append(name)
    while len(seen) < count:
        first = names[rng.integers(len(names))]
        others = by_speaker[first[:7]] if len(seen) % 2 else names
        pair = first, others[rng.integers(len(others))]
        if pair[0] != pair[1] and pair not in seen:
            seen.add(pair)
            yield *pair, pair[0][:7] == pair[1][:7]


def make_tree(folder: Path, meta: Path | None) -> None:
    """VoxCeleb1 as distributed, all names being hard links to files of a second of silence, and its trial list."""
    import soundfile

    dev, test = lists(meta)
    made = 0
    for part, names in (("dev", dev), ("test", test)):
        for name in names:
            if made % LINKS == 0:
                sound = folder / f"sound{made}.wav"
                soundfile.write(sound, np.zeros(RATE, np.int16), RATE)
            path = folder / "voxceleb1" / part / "wav" / f"{name}.wav"
            try:
                os.link(sound, path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True)
                os.link(sound, path)
            made += 1
    with (folder / "voxceleb1/veri_test2.txt").open("w") as file:
        if meta:
            file.write(gzip.decompress((meta / "veri_test_o_cleaned.txt.gz").read_bytes()).decode())
        else:
            file.writelines(f"{int(same)} {a}.wav {b}.wav\n" for a, b, same in drawn_trials(list(test), TRIALS))


def make_noise(folder: Path, meta: Path | None, count: int) -> float:
    """A data directory of WAV files of noise with lengths drawn from the list; hours of them."""
    import soundfile

    rng, (dev, _) = np.random.default_rng(0), lists(meta)
    noise = (3000 * rng.standard_normal(20_000_000, np.float32)).astype(np.int16)
    chosen = sorted(rng.choice(list(dev), min(count, len(dev)), replace=False).tolist())
    (folder / "wav").mkdir()
    wav = {}
    for name in chosen:
        start, utterance = rng.integers(15_000_000), name.replace("/", "-")
        wav[utterance] = str(folder / "wav" / f"{utterance}.wav")
        soundfile.write(wav[utterance], noise[start:start + int(RATE * dev[name])], RATE)
    (folder / "noise").mkdir()
    write_table(folder / "noise/wav.scp", wav)
    write_speakers(folder / "noise", {utterance: utterance[:7] for utterance in wav})
    return sum(dev[name] for name in chosen) / 3600


def make_network(path: Path) -> None:
    """The network of small.toml, untrained."""
    from deepspeaker.checkpoint import save
    from deepspeaker.config import load_config
    from deepspeaker.models.networks import build_network

    config = load_config(CONF)
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options)
    save(path, {"config": config.as_tables(), "model": network.state_dict()})


def make_embeddings(folder: Path, meta: Path | None) -> None:
    """Random vectors of all utterances as a job of stage 5 leaves them, and as joined those of the test set; the trials
    of VoxCeleb1-O and others as many as VoxCeleb1-E's."""
    from deepspeaker.datadir.archive import write_vectors

    rng, (dev, test) = np.random.default_rng(0), lists(meta)
    every = [name.replace("/", "-") for name in (*dev, *test)]
    vectors = dict(zip(every, rng.standard_normal((len(every), DIMENSIONS), np.float32), strict=True))
    folder.mkdir()
    write_vectors(folder / "embedding.1", vectors)
    write_vectors(folder / "test", {name: vectors[name] for name in every[len(dev):]})
    write_speakers(folder, {name: name[:7] for name in every})
    with (folder / "trials_E").open("w") as file:
        for first, second, same in drawn_trials(every, TRIALS_E):
            file.write(f"{first} {second} {'target' if same else 'nontarget'}\n")


def make_tables(folder: Path, meta: Path | None, count: int) -> None:
    """A recipe's folder with data/train of `count` utterances, archives of one frame of each, and empty models."""
    import struct

    from deepspeaker.config import load_config
    from deepspeaker.extraction.feature_set import write_conf

    known = [(name.replace("/", "-"), seconds) for part in lists(meta) for name, seconds in part.items()]
    seconds = {f"{name}{'x' * (n // len(known))}": each for n in range(0, count, len(known))
               for name, each in known[:count - n]}
    names, train = sorted(seconds), folder / "data/train"
    for each in (train, folder / "fbank", folder / "exp/softmax", folder / "exp/triplet/embeddings/train"):
        each.mkdir(parents=True)
    tables: dict[str, dict] = {"feats.scp": {}, "vad.scp": {}}
    for piece in range(0, count, PIECE):
        fbank, vad = (folder / f"fbank/{kind}_train.1.{piece // PIECE + 1}.ark" for kind in ("raw_fbank", "vad"))
        vad.touch()
        with fbank.open("wb") as file:
            for name in names[piece:piece + PIECE]:
                file.write(f"{name} ".encode())
                tables["feats.scp"][name] = f"{fbank}:{file.tell()}"
                tables["vad.scp"][name] = f"{vad}:{(file.tell() - 22) // 32}"
                file.write(b"\0BCM2 " + struct.pack("<ffii", -8.0, 20.0, 1, BINS) + bytes(2 * BINS))
    tables |= {"utt2num_frames": {name: int(seconds[name] / FRAME_SHIFT) - 2 for name in names},
               "utt2dur": {name: f"{seconds[name]:.3f}" for name in names},
               "wav.scp": {name: f"/db/voxceleb1/dev/wav/{name.replace('-', '/')}.wav" for name in names}}
    for name, table in tables.items():
        write_table(train / name, table)
    write_speakers(train, {name: name[:7] for name in names})
    (train / "frame_shift").write_text(f"{FRAME_SHIFT}\n")
    write_conf(train, "feats", load_config(CONF).features)
    for phase, name in (("softmax", "initial.pt"), ("softmax", "final.pt"), ("triplet", "final.pt")):
        (folder / "exp" / phase / name).touch()
    ark = folder / "exp/triplet/embeddings/train/embedding.ark"
    ark.touch()
    write_table(ark.with_suffix(".scp"), {name: f"{ark}:{2000 * n}" for n, name in enumerate(names)})


def open_training_set(directory: Path) -> None:
    """As training does: which utterances there are, of whom, how long; and once through all headers."""
    from deepspeaker.batches.training_set import TrainingSet
    from deepspeaker.config import load_config

    data = TrainingSet(directory, load_config(CONF).features)
    data.features.counts(np.arange(len(data.features)))


def apart(function: Callable, *args: object) -> object:
    """What a function returns in a process of its own: a command's highest memory is at least that of its parent."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def took(what: str, lines: int, *words: object, hours: float = 0.0, leaves: Iterable[Path] = (),
         output: Path = Path(os.devnull)) -> Cost:
    """Cost of a command of the project's folder, whose standard output goes to a file."""
    with output.open("w") as file:
        start = time.perf_counter()
        process = subprocess.Popen(list(map(str, words)), cwd=ROOT, stdout=file)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"bench_scale.py: {' '.join(map(str, words))} failed")
    sizes = [path.stat().st_size for path in leaves if path.is_file()]
    print(f"{what}: {seconds:.1f} s", file=sys.stderr)
    return Cost(what, lines, hours, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6, len(sizes),
                sum(sizes))


def stage_1(folder: Path, meta: Path | None, _: int) -> Iterator[Cost]:
    root, data = folder / "db", folder / "data"
    root.mkdir()
    apart(make_tree, root, meta)
    count = SIZES["VoxCeleb1"]
    yield took("1 local/voxceleb.py", count, "local/voxceleb.py", root, data, leaves=data.rglob("*"))
    yield took("1 utils/split_dev.py", DEV, "utils/split_dev.py", data)
    lines = (data / "train/utt2spk").read_bytes().count(b"\n")
    yield took("1 validate_data_dir.sh, train", lines, "utils/validate_data_dir.sh", "--no-feats", "--no-text",
               data / "train")


def stages_2_and_5(folder: Path, meta: Path | None, count: int) -> Iterator[Cost]:
    data, log, ark, out = (folder / name for name in ("noise", "log", "fbank", "embeddings"))
    hours = apart(make_noise, folder, meta, count)
    log.mkdir()
    make = ("steps/make_fbank.py", "--conf", CONF, data, log, ark)
    yield took("1 utils/check_data.py --nj 1", count, "utils/check_data.py", "--nj", 1, data, hours=hours)
    yield took("2 steps/check_space.py", count, "steps/check_space.py", "--conf", CONF, ark, data, hours=hours)
    yield took("2 steps/make_fbank.py --job 1", count, *make, "--job", 1, hours=hours, leaves=ark.glob("*"))
    yield took("2 the same, all pieces being there", count, *make, "--job", 1, hours=hours)
    yield took("2 steps/make_fbank.py --join", count, *make, "--join", hours=hours,
               leaves=(data / name for name in ("feats.scp", "vad.scp", "utt2num_frames", "utt2dur", "bad_utts")))
    apart(make_network, folder / "final.pt")
    out.mkdir()
    share = count // EMBEDDED
    seconds = [float(line.split()[1]) for line in (data / "utt2dur").read_text().splitlines()[:share]]
    yield took("5 steps/extract_embeddings.py --job 1", share, "steps/extract_embeddings.py", "--job", 1, "--nj",
               EMBEDDED, folder / "final.pt", data, out, hours=sum(seconds) / 3600, leaves=out.glob("embedding.1.*"))


def stage_6(folder: Path, meta: Path | None, _: int) -> Iterator[Cost]:
    at, count, test = folder / "vectors", SIZES["VoxCeleb1"], folder / "data/test"
    apart(make_embeddings, at, meta)
    yield took(f"5 extract_embeddings.py --join, {DIMENSIONS} dimensions", count, "steps/extract_embeddings.py",
               "--join", folder / "final.pt", at, at, leaves=at.glob("*embedding.*"))
    yield took("6 train_plda.py", count, "steps/train_plda.py", at / "embedding.scp", at / "utt2spk", at / "plda")
    for name, lines, trials, embeddings, speakers in (
            ("O", TRIALS, test / "trials", at / "test.scp", test / "utt2spk"),
            ("as many as E", TRIALS_E, at / "trials_E", at / "embedding.scp", at / "utt2spk")):
        for backend, *given in (("cosine",), ("asnorm", "--cohort", at / "spk_embedding.scp"),
                                ("plda", "--plda", at / "plda")):
            scores = at / f"scores.{backend}"
            yield took(f"6 score_trials.py, {backend}, {name}", lines, "steps/score_trials.py", "--backend", backend,
                       *given, trials, embeddings, scores, leaves=[scores])
        yield took(f"6 compute_metrics.py with intervals, {name}", lines, "steps/compute_metrics.py", "--json",
                   "--utt2spk", speakers, at / "scores.cosine", trials)


def asked_for(output: Path) -> list[str]:
    """The names of the parts that track_stages.py begin has printed as a shell array."""
    names = 'eval "$(cat "$1")" >/dev/null; printf "%s\\n" "${parts[@]%%$\'\\t\'*}"'
    done = subprocess.run(["bash", "-c", names, "-", output], capture_output=True, text=True, check=True)
    return done.stdout.split()


def tables(size: str, folder: Path, meta: Path | None, _: int) -> Iterator[Cost]:
    """Begin and end of stage 2; then, with all stages recorded, what a run.sh that has nothing to do asks; and what
    each job of stage 2 and each process of training reads first."""
    at, count = folder / size, SIZES[size]
    apart(make_tables, at, meta, count)
    options = ("--dir", at, "--exp", at / "exp", "--conf", CONF, "--corpus", "folder", "--root", folder,
               "--start", at / "exp/softmax/final.pt", "--backends", "cosine plda", "--learnt-from", "train")
    track, printed = partial(took, output=at / "parts"), "steps/track_stages.py"
    yield track(f"records: begin 2, {size}", count, printed, "begin", "--stage", 2, *options)
    yield track(f"records: end 2, {size}", count, printed, "end", "--part", "2/train", *options)
    for stage in range(1, 8):
        track(f"begin {stage}", count, printed, "begin", "--stage", stage, *options)
        for part in asked_for(at / "parts"):
            took(f"end {part}", count, printed, "end", "--part", part, *options)
    yield track(f"records: begin of all 7, none to do, {size}", count, "bash", "-e", "-c",
                'for stage in 1 2 3 4 5 6 7; do "$@" --stage $stage; done', "-", printed, "begin", *options)
    if again := asked_for(at / "parts"):
        sys.exit(f"bench_scale.py: {again} are not up to date")
    yield track(f"records: plan, {size}", count, printed, "plan", *options)
    (at / "log").mkdir()
    yield took(f"2 make_fbank.py, a job of one utterance, {size}", count, "steps/make_fbank.py", "--conf", CONF,
               "--job", 1, "--nj", count, at / "data/train", at / "log", at / "job")
    yield took(f"3 opening the training set, {size}", count, __file__, "--open", at / "data/train",
               leaves=(at / "data/train").glob("*"))


STAGES = [stage_1, *(partial(tables, size) for size in SIZES), stages_2_and_5, stage_6]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--meta", type=Path, metavar="FOLDER")
    parser.add_argument("--utterances", type=int, default=20_000, metavar="N", help="of noise (%(default)s)")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where 10 GB are free")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.open:
        open_training_set(args.open)
        return

    with tempfile.TemporaryDirectory(dir=args.dir) as name:
        costs = [cost for stage in STAGES for cost in stage(Path(name), args.meta, args.utterances)]
    if args.json:
        print(json.dumps([cost._asdict() for cost in costs], indent=1))
        return
    print(f"{'':52s}{'lines':>8s}{'hours':>7s}{'s':>7s}{'CPU s':>7s}{'us/line':>8s}{'s/hour':>7s}{'GB':>6s}"
          f"{'files':>6s}{'MB':>8s}")
    for cost in costs:
        hourly = f"{cost.processor / cost.hours:7.3f}" if cost.hours else f"{'':7s}"
        print(f"{cost.what:52s}{cost.lines:8d}{cost.hours:7.2f}{cost.seconds:7.1f}{cost.processor:7.1f}"
              f"{1e6 * cost.processor / cost.lines:8.1f}{hourly}{cost.gigabytes:6.2f}{cost.files:6d}"
              f"{cost.bytes / 1e6:8.1f}")


if __name__ == "__main__":
    main()
