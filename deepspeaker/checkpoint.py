"""Checkpoints: dictionaries of tensors and plain values, written whole or not at all; loading one runs no code."""

import hashlib
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepspeaker.atomic import atomic
from deepspeaker.config import Config, config_from_tables
from deepspeaker.errors import UserError, first_line
from deepspeaker.models.base import Network
from deepspeaker.models.networks import build_network
from deepspeaker.provenance import embedded_with, front_end

Content = dict[str, Any]  # "config": tables, "model": weights, and what the writer adds


class Trained(NamedTuple):
    network: Network  # on the CPU, in evaluation mode
    config: Config  # the configuration it was trained with
    content: Content  # everything else in the file


def save(path: str | os.PathLike[str], content: Content) -> None:
    """Write a checkpoint whole or not at all."""
    with atomic(path, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch hides the error of a full disk in one of its own
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load(path: str | os.PathLike[str]) -> Content:
    """Read a checkpoint onto the CPU; UserError when it is missing, damaged, or no checkpoint of this project."""
    content = read(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in ("config", "model")):
        raise UserError(f"{path} is not a checkpoint of this project: it lacks a configuration or weights")
    if not all(isinstance(content.get(key, {}), dict) for key in ("identity", "origin")):
        raise UserError(f"{path} is damaged: what it was trained with, or where it comes from, is not of the expected "
                        "kind")
    return content


def read(path: str | os.PathLike[str]) -> Any:
    """What torch.save wrote, on the CPU; UserError when it is missing, damaged, or holds other objects than tensors and
    plain values."""
    if not Path(path).is_file():
        raise UserError(f"no such checkpoint: {path}")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is damaged, or not a checkpoint: expected a file that torch.save of PyTorch 1.6 or "
                        "later wrote")
    try:
        with zipfile.ZipFile(path) as archive:  # torch compares no checksums
            if any(part.filename.endswith("/constants.pkl") for part in archive.infolist()):
                raise zipfile.BadZipFile("it is a TorchScript program, which is not run, not weights")
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise zipfile.BadZipFile("it is compressed, as no checkpoint is")
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of its part {damaged} is wrong")
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except pickle.UnpicklingError:
        raise UserError(f"{path} is damaged, or not a checkpoint: expected only tensors and plain values, found "
                        "other objects; none of its code was run") from None
    except Exception as error:  # a malicious file can make torch.load raise anything
        reason = first_line(error).split(". ", 1)[0] or type(error).__name__
        raise UserError(f"{path} is damaged, or not a checkpoint: {reason}") from None
    return content


def load_network(path: str | os.PathLike[str]) -> Trained:
    """The network of a checkpoint, built from the configuration in the same file. UserError as `load`, and when the
    weights do not fit the configuration."""
    content = load(path)
    config = config_from_tables(content["config"], str(path))
    with torch.device("meta"):  # no memory and no initialisation: the weights are assigned below
        network = build_network(config.features.num_mel_bins, config.model.name, config.model.options)
    kinds = {name: value.dtype for name, value in network.state_dict().items()}
    try:
        network.load_state_dict(content.pop("model"), assign=True)
        for name, value in network.state_dict().items():
            if value.dtype != kinds[name] or value.layout != torch.strided:
                raise TypeError(f"{name} is {value.dtype}, {value.layout}, expected {kinds[name]}")
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).strip().rpartition("\n")[2].strip()
        raise UserError(f"{path}: its weights do not fit its configuration: {reason}") from None
    return Trained(network.eval(), config, content)


def fingerprint(network: Network, config: Config) -> str:
    """SHA-256 of everything that embeddings depend on: the weights, [features], [model] and [embedding]."""
    tables = config.as_tables()
    parts = [front_end(tables["features"]), tables["model"], embedded_with(tables["embedding"])]
    found = hashlib.sha256(repr(parts).encode())
    for key, value in sorted(network.state_dict().items()):
        found.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight and running statistic over several networks; counts are taken from the last one."""
    def of(name: str) -> Tensor:
        last = states[-1][name]
        if not last.is_floating_point():
            return last
        return torch.stack([state[name].double() for state in states]).mean(0).to(last.dtype)

    return {name: of(name) for name in states[-1]}


def write_model(path: str | os.PathLike[str], trained: str | os.PathLike[str], config: Config, learnt: Content) -> None:
    """Write model.pt, which users take away: the checkpoint `trained` with [embedding] and [scoring] of `config`, and
    without a classifier, which only training needs.

    learnt: back-end, calibration and summary, as deepspeaker.inference.model_file.gather returns them.
    """
    content = load(trained)
    content.pop("classifier", None)
    latest = config.as_tables()
    content["config"] |= {section: latest[section] for section in ("embedding", "scoring")}
    save(path, {**content, **learnt})
