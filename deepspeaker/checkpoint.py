"""Checkpoints: dictionaries of tensors and plain values, written whole or not at all, loaded without running code."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from deepspeaker.atomic import atomic
from deepspeaker.config import Config, config_from_tables
from deepspeaker.errors import UserError
from deepspeaker.models import build_network
from deepspeaker.models.network import Network


class Trained(NamedTuple):
    network: Network  # on the CPU, in evaluation mode
    config: Config  # the one it was trained with
    content: dict  # everything else the file holds


def save(path: str | os.PathLike, content: dict) -> None:
    """Write under a temporary name, sync, rename."""
    with atomic(path, "wb") as file:
        torch.save(content, file)


def load(path: str | os.PathLike) -> dict:
    """Read a checkpoint onto the CPU; UserError when it is missing, damaged, or not one of ours."""
    if not Path(path).is_file():
        raise UserError(f"no such checkpoint: {path}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch compares no checksums
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} in it is not what was written")
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except pickle.UnpicklingError:
        raise UserError(f"{path} is damaged, or not a checkpoint: expected tensors and plain values, found something "
                        f"else, and ran nothing of it") from None
    except Exception as error:  # a file made to harm can make it raise anything
        reason = str(error).split("\n", 1)[0].split(". ", 1)[0] or type(error).__name__
        raise UserError(f"{path} is damaged, or not a checkpoint: {reason}") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in ("config", "model")):
        raise UserError(f"{path} is not a checkpoint of this project: no configuration and weights in it")
    return content


def load_model(path: str | os.PathLike) -> Trained:
    """The network of a checkpoint, built from the configuration that lies in it."""
    content = load(path)
    config = config_from_tables(content["config"], str(path))
    with torch.device("meta"):  # the weights take their places: nothing is initialised in vain
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


def mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight and running statistic of several networks; of counts the last one's."""
    def of(name: str) -> Tensor:
        last = states[-1][name]
        if not last.is_floating_point():
            return last
        return torch.stack([state[name].double() for state in states]).mean(0).to(last.dtype)

    return {name: of(name) for name in states[-1]}


def write_model(path: str | os.PathLike, trained: str | os.PathLike, config: Config, learnt: dict) -> None:
    """Write the model that users take away: a phase's network with [embedding] and [scoring] of `config`.

    `learnt`: what deepspeaker.inference.model_file.gather returns.
    """
    content = load(trained)
    latest = config.as_tables()
    content["config"] |= {section: latest[section] for section in ("embedding", "scoring")}
    save(path, {**content, **learnt})
