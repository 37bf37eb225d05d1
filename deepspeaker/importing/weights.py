"""A file of weights -> name -> tensor; anything else is told by what it looks like."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepspeaker.checkpoint import read
from deepspeaker.errors import UserError, examples

WRAPPERS = ("state_dict", "model")  # keys under which projects keep the weights beside other things
PREFIX = "module."  # of torch's DataParallel
CLASSIFIER = "projection."  # WeSpeaker's, which a network does without

Weights = dict[str, Tensor]


def read_weights(path: str) -> Weights:
    """The weights of a network in float32, counts as int64, without a classifier. UserError, which says what the file
    looks like, for one without weights."""
    content = read(path)
    if isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in ("config", "model")):
        raise UserError(f"{path} is a checkpoint of this project: use it as it is")
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        raise UserError(f"{path}: expected the weights of a network, names with a tensor each, found "
                        f"{_described(content)}")
    return {name: _plain(name, value, path) for name, value in map(_without_prefix, content.items())
            if not name.startswith(CLASSIFIER)}


def shape(weights: Mapping[str, Tensor], name: str, dimensions: int, path: str) -> tuple[int, ...]:
    """The shape of a weight; UserError where it is missing or has another number of dimensions."""
    if name not in weights:
        raise UserError(f"{path}: the weight {name} is missing")
    found = tuple(weights[name].shape)
    if len(found) != dimensions:
        raise UserError(f"{path}: {name}: expected {dimensions} dimensions, found {shown(found)}")
    return found


def shown(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size)) or "a single number"


def _without_prefix(item: tuple[str, Tensor]) -> tuple[str, Tensor]:
    name, value = item
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name, value


def _plain(name: str, value: Tensor, path: str) -> Tensor:
    if value.layout != torch.strided or value.is_quantized or value.is_complex():
        raise UserError(f"{path}: {name}: expected plain numbers, found {value.dtype}, {value.layout}")
    return value.to(torch.int64 if name.endswith("num_batches_tracked") else torch.float32).contiguous()


def _described(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    if not content:
        return "nothing"
    if {"state", "param_groups"} <= content.keys():
        return "the state of an optimiser; the weights are in another file"
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    return f"other things, too ({examples(others)}); take the weights out of it"
