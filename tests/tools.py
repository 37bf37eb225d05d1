"""Models and voices for the tests of a trained model's use."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from conftest import RATE, tiny_conf, write_wav

from deepspeaker.checkpoint import save, write_model
from deepspeaker.config import load_config
from deepspeaker.corpus.synthesis import draw_recording, draw_speaker, draw_utterance
from deepspeaker.models.networks import build_network


def voice(speaker: int, utterance: int = 0, seconds: float = 3.0) -> np.ndarray:
    """Synthetic speech (S,) float32 of a speaker."""
    rng = np.random.default_rng([speaker, utterance])
    person, speech = draw_speaker(np.random.default_rng(speaker)), np.zeros(0, np.float32)
    while len(speech) < seconds * RATE:
        speech = np.concatenate([speech, draw_utterance(rng, person, draw_recording(rng))])
    return (0.3 * speech / np.abs(speech).max())[:round(seconds * RATE)].astype(np.float32)


def model_file(path: Path, changes: dict | None = None, seed: int = 0, **learnt: object) -> Path:
    """model.pt of random weights, calibrated so that only a cosine of about one is the same speaker."""
    config = load_config(tiny_conf(path.with_suffix(".toml"), changes))
    torch.manual_seed(seed)
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options)
    save(path.with_suffix(".final"), {"config": config.as_tables(), "model": network.state_dict()})
    calibration = {"cosine": {"prior": 0.01, "offset": -1e6 + 10, "weights": {"score": 1e6}}}
    write_model(path, path.with_suffix(".final"), config,
                {"calibration": calibration, "cohort": None, "plda": None, "summary": {}, **learnt})
    return path


def melody(seconds: float) -> np.ndarray:
    """Chords of a plucked instrument."""
    time = np.arange(round(seconds * RATE)) / RATE
    notes = 2 ** (np.array([0, 4, 7, 5, 9])[(time * 3).astype(int) % 5] / 12)
    chord = ((interval, k) for interval in (1, 1.25, 1.5) for k in (1, 2, 3))
    tone = sum(np.sin(2 * np.pi * 262 * interval * notes * k * time) / k for interval, k in chord)
    return (0.1 * tone * np.exp(-4 * (time * 3 % 1))).astype(np.float32)


def bad_sounds(folder: Path) -> None:
    """Files that are refused: silence, too short, noise, music, 16-bit values as floats, text, nothing."""
    write_wav(folder / "silence.wav", np.zeros(3 * RATE, np.float32))
    write_wav(folder / "short.wav", voice(1, seconds=0.2))
    write_wav(folder / "noise.wav", (0.1 * np.random.default_rng(0).standard_normal(3 * RATE)).astype(np.float32))
    write_wav(folder / "music.wav", melody(5.0))
    soundfile.write(folder / "loud.wav", 32768 * voice(1), RATE, "FLOAT")
    (folder / "text.wav").write_text("this is no sound")
    (folder / "empty.wav").write_bytes(b"")
