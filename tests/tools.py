"""Models and voices for the tests of a trained model's use."""

from pathlib import Path

import numpy as np
import torch
from conftest import RATE, tiny_conf

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
