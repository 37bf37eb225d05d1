"""A file of weights -> name -> tensor; anything else is told by what it looks like."""

import math
import re
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepspeaker.checkpoint import read
from deepspeaker.errors import UserError, examples

WRAPPERS = ("state_dict", "model")  # keys under which projects keep the weights beside other things
PREFIX = "module."  # of torch's DataParallel
CLASSIFIER = "projection."  # WeSpeaker's, which a network does without
COUNT = "num_batches_tracked"  # names of normalisations' counts end so
LONGEST = 200  # characters of a name

Weights = dict[str, Tensor]


class File(NamedTuple):
    """The weights in a file: in float32, counts as int64, without a classifier."""

    path: str
    weights: Weights
    of_wespeaker: bool  # has a classifier, or counts that are averages: WeSpeaker leaves both, 3D-Speaker neither

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a weight; UserError where it is missing or has another number of dimensions."""
        if name not in self.weights:
            raise UserError(f"{self.path}: the weight {name} is missing")
        found = tuple(self.weights[name].shape)
        if len(found) != dimensions:
            raise UserError(f"{self.path}: {name}: expected {dimensions} dimensions, found the shape {shown(found)}")
        return found

    def count(self, pattern: str) -> int:
        """How many weights have names of this pattern."""
        return sum(bool(re.fullmatch(pattern, name)) for name in self.weights)


def read_weights(path: str) -> File:
    """UserError, which says what the file looks like, for one without a network's weights."""
    content = read(path)
    if isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in ("config", "model")):
        raise UserError(f"{path} is a checkpoint of this project: use it as it is")
    while isinstance(content, dict) and (inner := [content[key] for key in WRAPPERS
                                                   if isinstance(content.get(key), dict)]):
        content = inner[0]
    if not isinstance(content, dict) or not content or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        raise UserError(f"{path}: expected the weights of a network, names with a tensor each, found "
                        f"{_described(content)}")
    if long := [name for name in content if len(name) > LONGEST]:
        raise UserError(f"{path}: expected names of weights of at most {LONGEST} characters, found {len(long[0])}")
    found: Weights = {}
    for name, value in content.items():
        name = _without_prefix(name)
        if name in found:
            raise UserError(f"{path}: {name} is there twice, with and without '{PREFIX}'")
        found[name] = _plain(name, value, path)
    network = {name: value for name, value in found.items() if not name.startswith(CLASSIFIER)}
    if not network:
        raise UserError(f"{path}: expected the weights of a network, found only those of a classifier")
    averaged = any(name.endswith(COUNT) and value.is_floating_point() for name, value in content.items())
    return File(path, network, averaged or len(network) < len(found))


def shown(size: tuple[int, ...]) -> str:
    """A shape, for a message."""
    return " x ".join(map(str, size)) or "of a single number"


def _without_prefix(name: str) -> str:
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name


def _plain(name: str, value: Tensor, path: str) -> Tensor:
    count = name.endswith(COUNT)
    whole = value.layout == torch.strided and not value.is_meta and not value.is_quantized and not value.is_complex()
    if not whole or not (count or value.is_floating_point()):
        raise UserError(f"{path}: {name}: expected plain floating-point numbers, found {value.dtype}, {value.layout}"
                        f"{', without values' if value.is_meta else ''}")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError(f"{path}: {name}: expected a value for each of {shown(tuple(value.shape))} numbers, found "
                        "fewer")
    if count and not ((value >= 0) & (value < math.inf)).all().item():
        raise UserError(f"{path}: {name}: expected a count, found {value.flatten()[:3].tolist()}")
    return value.to(torch.int64 if count else torch.float32).contiguous()


def _described(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    if not content:
        return "nothing"
    if {"state", "param_groups"} <= content.keys():
        return "the state of an optimiser; the weights are in another file"
    others = [repr(name)[:LONGEST] for name, value in content.items()
              if not (isinstance(name, str) and isinstance(value, Tensor))]
    return f"other things, too ({examples(others)}); take the weights out of it"
