"""A model as an ONNX graph for input of any length, compared with the model after writing.

sherpa-onnx computes features itself: 80 mel bins from 20 Hz to half the sampling rate minus 400 Hz, over every frame,
with mirrored edges, minus their mean over the utterance. A model trained on exactly these features gets the metadata
that sherpa-onnx needs.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from deepspeaker.atomic import check_output
from deepspeaker.audio.frames import FLOOR, POVEY
from deepspeaker.config import Config
from deepspeaker.errors import UserError, need
from deepspeaker.extraction.embed import as_seen
from deepspeaker.extraction.fbank import compute_fbank, voiced_frames
from deepspeaker.inference.model import Model

SECONDS = (0.5, 0.7, 1.0, 1.6, 2.5, 4.0, 8.0, 15.0, 30.0, 60.0)  # lengths compared
TOLERANCE = 1e-4  # greatest absolute difference of a value of an embedding
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Export(NamedTuple):
    difference: float  # greatest absolute difference of a value of an embedding
    seconds: list[float]  # lengths compared
    deployment: str  # whether sherpa-onnx can run it, or why not


class FromFeatures(nn.Module):
    """Features (B, T, F) before normalisation -> embeddings (B, E)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network, self.mode, self.embedding = model.network, model.config.features.normalize, model.config.embedding

    def forward(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.network(as_seen(features, self.mode, self.embedding))
        return embeddings


class FromSamples(nn.Module):
    """Samples (S,) within -1..1 -> embedding (E,)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.rest, self.features = FromFeatures(model), model.config.features

    def forward(self, samples: Tensor) -> Tensor:
        f = self.features
        fbank, energy = compute_fbank(samples, snip_edges=f.snip_edges, **f.filterbank)
        if f.vad:
            voiced = voiced_frames(energy)
            fbank = fbank[voiced | ~voiced.any()]
        embeddings: Tensor = self.rest(fbank.unsqueeze(0))
        return embeddings.squeeze(0)


def export_onnx(model: Model, path: Path, front_end: bool) -> Export:
    """Write the graph to `path` and compare its embeddings with the model's.

    front_end: whether the graph starts from samples, or from features. UserError, and no file, if an embedding differs
    by more than TOLERANCE, or if the model averages crops: the graph embeds whole utterances, and the calibration would
    not hold for those.
    """
    if crops := model.config.embedding.crops:
        raise UserError(f"an ONNX graph embeds whole utterances, but this model averages {crops} crops of each: set "
                        f"[embedding] crops = 0, run stages 5 and 6 again, and export the new model.pt")
    need(PACKAGES, "export")
    if path.suffix != ".onnx":
        raise UserError(f"{path}: expected a name that ends in .onnx")
    check_output(path)
    graph = (FromSamples if front_end else FromFeatures)(model).eval()
    name = "samples" if front_end else "features"
    inputs = list(_inputs(model.config, front_end))
    example = inputs[4]
    dynamic = {0: torch.export.Dim.DYNAMIC} if front_end else dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    example = example if front_end else torch.cat([example, example])  # torch.export fixes a dimension of 1
    reason = "the graph starts from samples" if front_end else _unlike_sherpa(model.config)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.onnx")
    try:
        with _quiet(), torch.no_grad():
            graph(example)  # compute_fbank caches its tables: fill the cache outside the tracing
            program = torch.export.export(graph, (example,), dynamic_shapes={name: dynamic}, strict=False)
            torch.onnx.export(program, (example,), temporary, input_names=[name], output_names=["embedding"],
                              external_data=False)
        if not reason:
            _write_metadata(temporary, model)
        difference = _difference(temporary, graph, name, inputs)
        if not difference <= TOLERANCE:
            raise UserError(f"{path}: the export differs from the model by {difference:.1e}, more than {TOLERANCE:g}: "
                            "it is deleted")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    deployment = f"no metadata for sherpa-onnx: {reason}" if reason else "has the metadata that sherpa-onnx needs"
    return Export(difference, list(SECONDS), deployment)


def _inputs(config: Config, front_end: bool) -> Iterator[Tensor]:
    """Inputs of each length, bursts of noise with pauses: samples (S,) with `front_end`, else features (1, T, F)."""
    f, rng = config.features, np.random.default_rng(0)
    for seconds in SECONDS:
        time = np.arange(round(seconds * f.sample_rate)) / f.sample_rate
        bursts = 0.1 * rng.standard_normal(time.size) * (np.sin(2 * np.pi * 3 * time) > -0.5)
        samples = torch.from_numpy(bursts.astype(np.float32))
        if front_end:
            yield samples
        else:
            yield compute_fbank(samples, snip_edges=f.snip_edges, **f.filterbank)[0].unsqueeze(0)


@torch.no_grad()
def _difference(path: Path, graph: nn.Module, name: str, inputs: list[Tensor]) -> float:
    """The greatest absolute difference of a value of an embedding, over all inputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = [np.abs(session.run(None, {name: x.numpy()})[0] - graph(x).numpy()).max() for x in inputs]
    return float(max(found))


def _unlike_sherpa(config: Config) -> str:
    """How the front-end differs from that of sherpa-onnx; "" if it does not."""
    f = config.features
    wanted = {"num_mel_bins": (f.num_mel_bins, 80), "window": (f.window, POVEY), "mel_floor": (f.mel_floor, FLOOR),
              "low_freq": (f.low_freq, 20.0),
              "high_freq": (f.high_freq or f.sample_rate / 2, f.sample_rate / 2 - 400),
              "snip_edges": (f.snip_edges, False), "vad": (f.vad, False), "normalize": (f.normalize, "mean")}
    return "; ".join(f"[features] {key} is {found}, sherpa-onnx has {own}"
                     for key, (found, own) in wanted.items() if found != own)


def _write_metadata(path: Path, model: Model) -> None:
    import onnx

    graph, f = onnx.load(path), model.config.features
    metadata = {"framework": "wespeaker", "sample_rate": f.sample_rate, "output_dim": model.dimensions,
                "normalize_samples": 0, "feature_normalize_type": "global-mean", "language": "English"}
    onnx.helper.set_model_props(graph, {key: str(value) for key, value in metadata.items()})
    onnx.save(graph, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's log, warnings and output."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
