"""Names of weights here -> their names there; values there -> values here."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepspeaker.errors import UserError, examples
from deepspeaker.importing.weights import File, Weights, shown

Rule = tuple[str, str]  # a pattern for the beginning of names here, and what it is replaced by there
Value = Callable[[str, Tensor], Tensor]  # (name here, value there) -> value here


class Translation(NamedTuple):
    """How the weights of a foreign network become those of one of ours."""

    kind: str  # for the user: which network of which project
    name: str  # of NETWORKS
    options: dict[str, Any]  # the network's other arguments
    features: dict[str, object]  # keys of [features]
    name_there: Callable[[str], str]  # name here -> name there
    value_here: Value


def by_rules(rules: Sequence[Rule]) -> Callable[[str], str]:
    """Names by the first rule that fits."""
    def name_there(name: str) -> str:
        for pattern, replacement in rules:
            if found := re.match(pattern, name):
                return found.expand(replacement) + name[found.end():]
        return name

    return name_there


def transposed(name: str, value: Tensor) -> Tensor:
    """Kernels over (frequency, time) -> over (time, frequency)."""
    return value.transpose(2, 3).contiguous() if value.dim() == 4 else value


def translated(file: File, ours: Mapping[str, Tensor], translation: Translation) -> Weights:
    """The weights of a file as `ours`, whose values do not matter. UserError, which names them, for weights that are
    missing, unknown, of another shape than `ours`, or not finite."""
    path, theirs, _ = file
    there = {name: translation.name_there(name) for name in ours}
    if missing := [name for name in dict.fromkeys(there.values()) if name not in theirs]:
        raise UserError(f"{path}: {translation.kind}: {len(missing)} weights are missing: {examples(missing)}")
    if unknown := theirs.keys() - there.values():
        raise UserError(f"{path}: {translation.kind}: {len(unknown)} weights are unknown: {examples(sorted(unknown))}; "
                        "it is another network, or has parts that are not supported here")
    found = {}
    for name, like in ours.items():
        value = theirs[there[name]]
        try:
            found[name] = translation.value_here(name, value)
        except IndexError:  # too few dimensions
            found[name] = value
        if found[name].shape != like.shape:
            raise UserError(f"{path}: {translation.kind}: {there[name]}: its shape here is "
                            f"{shown(tuple(found[name].shape))}; the other weights and the configuration want "
                            f"{shown(tuple(like.shape))}")
        if found[name].is_floating_point() and not torch.isfinite(found[name]).all():
            raise UserError(f"{path}: {there[name]} has values that are not finite: the file is damaged")
    return found
