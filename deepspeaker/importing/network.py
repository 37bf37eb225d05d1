"""import_network: a file of another project -> a checkpoint, tried out on a second of synthetic speech."""

import hashlib
import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from deepspeaker import __version__
from deepspeaker.atomic import check_output
from deepspeaker.checkpoint import fingerprint, save
from deepspeaker.conf_files import read_tables
from deepspeaker.config import Config, config_from_tables
from deepspeaker.errors import UserError, examples, one_line
from deepspeaker.extraction.embed import embed
from deepspeaker.extraction.fbank import compute_fbank
from deepspeaker.importing import campplus, ecapa, resnet
from deepspeaker.importing.names import Translation, translated
from deepspeaker.importing.settings import Settings, read_settings
from deepspeaker.importing.weights import File, read_weights
from deepspeaker.models.base import Network
from deepspeaker.models.networks import build_network

Translate = Callable[[File, Settings | None], Translation]
KNOWN: dict[str, Translate] = {each.SIGNATURE: each.translate for each in (campplus, resnet, ecapa)}
NAMES = "CAM++ of 3D-Speaker and WeSpeaker, ResNet and ECAPA-TDNN of WeSpeaker"
LOOKS_LIKE = {  # how names of weights begin that only this network has -> what it is
    "blocks.0.conv.conv.": "an ECAPA-TDNN of SpeechBrain or 3D-Speaker", "layer1.0.convs.": "an ERes2Net or a Res2Net",
    "front.": "a SimAM-ResNet", "frontend.": "a network whose front-end is a network, too"}
OTHER_SECTIONS = Path(__file__).with_name("deep_speaker.toml")


class Imported(NamedTuple):
    """What is told of an import."""

    output: str
    weights: int
    config: Config
    origin: dict[str, str]  # network, file, SHA-256, and what was told of source and licence
    fingerprint: str  # of weights and configuration, as in checkpoint.py
    embedding: Tensor  # (E,) of the second of synthetic speech


def import_network(path: str | os.PathLike[str], output: str | os.PathLike[str],
                   config: str | os.PathLike[str] | None = None, source: str = "", licence: str = "") -> Imported:
    """Write the network of a file of another project as a checkpoint.

    config: WeSpeaker's config.yaml. source, licence: where the file comes from and under which terms, kept with it.
    UserError, and no output, for files that are damaged, of another kind, or contradict each other, and for front-ends
    that are not supported; it names key or weight.
    """
    path, output = os.fspath(path), os.fspath(output)
    check_output(output)
    if os.path.exists(output) and os.path.exists(path) and os.path.samefile(output, path):
        raise UserError(f"{output}: this is the file to import: choose another name")
    settings = read_settings(os.fspath(config)) if config else None
    file = read_weights(path)
    translation = _recognised(file)(file, settings)
    if settings:
        _compare(settings, translation, path)
    tables = read_tables(OTHER_SECTIONS)
    tables["model"] = {"name": translation.name, **translation.options}
    tables["features"] |= {"vad": False, "normalize": "mean", **translation.features}
    tables["embedding"]["min_frames"] = 1  # as there, utterances of any length as they are
    checked = config_from_tables(tables, f"{path} with {os.fspath(config)}" if config else path)
    build = partial(build_network, checked.features.num_mel_bins, checked.model.name, checked.model.options)
    with torch.device("meta"):
        expected = build().state_dict()
    weights = translated(file, expected, translation)
    network = build()
    network.load_state_dict(weights)
    embedding = try_out(network.eval(), checked, path)
    origin = {"file": os.path.basename(path), "sha256": _sha256(path), "network": translation.kind,
              "source": one_line(source), "licence": one_line(licence),
              "imported": datetime.now(UTC).date().isoformat(), "version": __version__}
    save(output, {"config": checked.as_tables(), "model": network.state_dict(), "origin": origin})
    size = sum(value.numel() for value in network.parameters())
    return Imported(output, size, checked, origin, fingerprint(network, checked), embedding)


def try_out(network: Network, config: Config, path: str) -> Tensor:
    """The embedding (E,) of a second of synthetic speech; UserError unless it is finite and of unit length."""
    f = config.features
    fbank, _ = compute_fbank(synthetic_second(f.sample_rate), snip_edges=f.snip_edges, **f.filterbank)
    found = embed(network, fbank, f.normalize, config.embedding)
    if not torch.isfinite(found).all() or abs(float(found.norm()) - 1) > 1e-4:
        raise UserError(f"{path}: the embedding of a second of synthetic speech is not finite or not of unit length: "
                        "these weights are of no use")
    return found


def synthetic_second(rate: int) -> Tensor:
    """A second of a vowel with gliding pitch in four syllables, (rate,) within -1..1: the same numbers everywhere."""
    time = torch.arange(rate, dtype=torch.float64) / rate
    pitch = 120 + 30 * torch.sin(2 * math.pi * time)  # Hz
    phase = 2 * math.pi * torch.cumsum(pitch, 0) / rate
    sound = torch.zeros(rate, dtype=torch.float64)
    for number in range(1, 25):  # harmonics up to 3600 Hz; resonances at 700, 1200 and 2500 Hz
        strength = sum(torch.exp(-((number * pitch - centre) / 150) ** 2) for centre in (700.0, 1200.0, 2500.0)) + 0.05
        sound += strength / number**0.5 * torch.sin(number * phase)
    return (0.1 * sound * (1.2 - torch.cos(8 * math.pi * time))).float()


def _recognised(file: File) -> Translate:
    likely = [what for start, what in LOOKS_LIKE.items() if any(name.startswith(start) for name in file.weights)]
    known = [translate for signature, translate in KNOWN.items() if signature in file.weights]
    if known and not likely:
        return known[0]
    found = f"what looks like {likely[0]}" if likely else "another network"
    raise UserError(f"{file.path}: expected one of: {NAMES}; found {found}, with {len(file.weights)} weights: "
                    f"{examples(file.weights)}")


def _compare(settings: Settings, translation: Translation, path: str) -> None:
    """UserError where the configuration contradicts the weights."""
    dimensions, last_norm = translation.options["embedding_dim"], translation.options.get("last_norm", False)
    if settings.embedding_dim != dimensions:
        raise settings.contradiction("model_args.embed_dim", settings.embedding_dim, f"{dimensions} dimensions", path)
    pooling = "ASTP" if translation.options["pooling"].startswith("attentive") else "TSTP"
    if settings.pooling and settings.pooling != pooling:
        raise settings.contradiction("model_args.pooling_func", settings.pooling, f"the shapes of {pooling}", path)
    if settings.last_norm != last_norm:
        normalised = f"{'a' if last_norm else 'no'} normalisation of the embedding"
        raise settings.contradiction("model_args.emb_bn", settings.last_norm, normalised, path)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
