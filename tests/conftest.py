"""What the tests share: commands run as a user runs them, and small data directories of real files."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
RATE = 16000
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def noise(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """White noise (S,) float32 that comes and goes twice a second, so that some frames are unvoiced."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return (rng.standard_normal(time.size) * 0.1 * (np.sin(2 * np.pi * 2 * time) > -0.5)).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHON": sys.executable, "LC_ALL": "C", **extra}


def hear_interrupts() -> None:
    """For Popen's preexec_fn: tests may be run where SIGINT is ignored, which a shell then cannot trap."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def call():
    """Run a program with path.sh's environment from the repository's root; returns the finished process."""

    def run(*command: object, cwd: Path = ROOT, **extra: str) -> subprocess.CompletedProcess:
        words = ["bash", "-c", f'. {ROOT}/path.sh; exec "$@"', "bash", *map(str, command)]
        return subprocess.run(words, cwd=cwd, env=environment(**extra), capture_output=True, text=True, timeout=600)

    return run


@pytest.fixture
def data_dir(tmp_path):
    """Make data/NAME of so many speakers and utterances of noise, each utterance different."""

    def make(name: str = "train", speakers: int = 4, utterances: int = 4, seconds: float = 1.0) -> Path:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        ids = [f"s{s:02d}-u{u:02d}" for s in range(speakers) for u in range(utterances)]
        wavs = {i: write_wav(tmp_path / "wav" / name / f"{i}.wav", noise(seconds, n)) for n, i in enumerate(ids)}
        (folder / "wav.scp").write_text("".join(f"{i} {wav}\n" for i, wav in wavs.items()))
        (folder / "utt2spk").write_text("".join(f"{i} {i[:3]}\n" for i in ids))
        (folder / "spk2utt").write_text("".join(
            f"s{s:02d} {' '.join(i for i in ids if i.startswith(f's{s:02d}'))}\n" for s in range(speakers)))
        pairs = [(a, b) for n, a in enumerate(ids) for b in ids[n + 1:]]
        (folder / "trials").write_text("".join(
            f"{a} {b} {'target' if a[:3] == b[:3] else 'nontarget'}\n" for a, b in pairs))
        return folder

    return make


TINY = {"model.channels": [4, 8], "model.embedding_dim": 8,
        "softmax.epochs": 2, "softmax.steps_per_epoch": 3, "softmax.speakers": 4, "softmax.min_frames": 40,
        "softmax.max_frames": 60, "softmax.warmup_steps": 2,
        "triplet.epochs": 2, "triplet.steps_per_epoch": 3, "triplet.speakers": 4, "triplet.utterances": 2,
        "triplet.min_frames": 40, "triplet.max_frames": 60,
        "augment.copies": ["speed"], "augment.speeds": [1.1], "scoring.cohort_top": 3, "scoring.plda_dim": 4,
        "scoring.calibration_prior": 0.01}


def tiny_conf(path: Path, changes: dict[str, object] | None = None) -> Path:
    """Write conf/demo.toml with a network and schedule of seconds, and other `changes` (section.key: value, or
    section: a whole table)."""
    from deepspeaker.config import config_from_tables, load_config, write_config

    tables = load_config(ROOT / "egs/voxceleb/conf/demo.toml").as_tables()
    for key, value in {**TINY, **(changes or {})}.items():
        section, _, name = key.partition(".")
        if not name:
            tables[section] = value
            continue
        assert name in tables[section], key
        tables[section][name] = value
    write_config(path, config_from_tables(tables, str(path)))
    return path


@pytest.fixture
def conf(tmp_path):
    """Write a tiny configuration with `changes`."""
    return lambda changes=None: tiny_conf(tmp_path / "tiny.toml", changes)


def make_features(directory: Path, config, scratch: Path, makes: tuple[str, ...] = ("feats", "vad")) -> None:
    """What stage 2 does, in this process."""
    from deepspeaker.extraction.make_features import Places, join_features, make_share

    places = Places(directory.name, scratch, scratch, makes)
    make_share(directory, config.features, places, 1, 1)
    join_features(directory, config.features, places, 1)


@pytest.fixture
def ready(data_dir, conf, tmp_path):
    """Make train and dev with features, or train with its sound where that is read; returns (conf, train, dev)."""

    def make(changes=None, **sizes):
        from deepspeaker.config import load_config

        path = conf(changes)
        config = load_config(path)
        train, dev = data_dir("train", **sizes), data_dir("dev", speakers=3, utterances=2, seconds=0.6)
        make_features(train, config, tmp_path, ("sound", "vad") if config.augment.online else ("feats", "vad"))
        make_features(dev, config, tmp_path)
        return path, train, dev

    return make


@pytest.fixture
def sounds(tmp_path):
    """A folder of noises, music, talkers and rooms."""
    from deepspeaker.datadir.sound_archive import append_sound

    folder = tmp_path / "sounds"
    folder.mkdir()
    rng = np.random.default_rng(5)
    room = rng.standard_normal((3, RATE // 2)) * np.exp(-np.arange(RATE // 2) / 1500)
    room[:, 0] = 5 * np.abs(room).max()
    kinds = {"noise": [noise(1.5, 100), noise(0.3, 101)], "music": [noise(3.0, 102)],
             "babble": [noise(1.0, 103), noise(0.4, 104)], "rooms": room / np.abs(room).max()}
    for kind, samples in kinds.items():
        with (folder / f"{kind}.ark").open("wb") as file:
            places = [append_sound(file, f"{kind}{n}", one, RATE) for n, one in enumerate(samples)]
        (folder / f"{kind}.scp").write_text("".join(f"{kind}{n} {folder}/{kind}.ark:{place}\n"
                                                    for n, place in enumerate(places)))
    return folder


@pytest.fixture
def conditions(tmp_path):
    """Make the copies of dev "in noise and in a room", with features, as an earlier stage does."""

    def make(path: Path, dev: Path) -> list[Path]:
        from deepspeaker.config import load_config
        from deepspeaker.corpus.augmented_copies import noisy_copy, reverberant_copy

        write_wav(tmp_path / "musan/noise/hum.wav", noise(2.0, 99))
        write_wav(tmp_path / "rirs/room.wav", noise(0.2, 98) * np.exp(-np.arange(RATE // 5) / 800))
        copies = [dev.with_name("dev_noise"), dev.with_name("dev_reverb")]
        noisy_copy(dev, copies[0], "noise", tmp_path / "musan", seed=0)
        reverberant_copy(dev, copies[1], tmp_path / "rirs", seed=0)
        for copy in copies:
            make_features(copy, load_config(path), tmp_path)
        return copies

    return make


def train_command(conf, train, dev, out, phase="softmax", *more):
    return [sys.executable, str(ROOT / "steps/train.py"), "--phase", phase, "--conf", str(conf), "--device", "cpu",
            *map(str, more), str(train), str(dev), str(out)]


def finish(words):
    return subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=100)


def weights(path: Path) -> dict:
    """The network of a checkpoint."""
    from deepspeaker.checkpoint import load

    return load(path)["model"]


def same(a: dict, b: dict) -> bool:
    """Whether two networks agree bit for bit."""
    import torch

    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def pytest_collection_modifyitems(items):
    """Files with many long tests first: no core shall end with one of them while the other has nothing left."""
    long = Counter(item.path for item in items if item.get_closest_marker("long"))
    items.sort(key=lambda item: -long[item.path])
