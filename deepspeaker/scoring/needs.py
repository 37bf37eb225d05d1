"""Functions by name that differ in what they need: their keyword-only arguments."""

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

from deepspeaker.errors import UserError

F = TypeVar("F")


def look_up(what: str, name: str, table: Mapping[str, F]) -> F:
    """The function of that name; UserError, listing the names that there are, otherwise."""
    if name not in table:
        raise UserError(f"no {what} {name!r}; there are: {', '.join(table)}")
    return table[name]


def needs(function: Callable[..., object]) -> list[str]:
    """The keyword-only arguments of a function: `cohort` and the like."""
    return [a.name for a in inspect.signature(function).parameters.values() if a.kind is a.KEYWORD_ONLY]


def supply(name: str, function: Callable[..., object], means: Mapping[str, object]) -> dict[str, object]:
    """Of `means` what a function needs; UserError, naming the options, where that is None."""
    if missing := [f"--{need.replace('_', '-')}" for need in needs(function) if means[need] is None]:
        raise UserError(f"{name} needs {' and '.join(missing)}")
    return {need: means[need] for need in needs(function)}
