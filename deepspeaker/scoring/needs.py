"""Back-ends and qualities differ in what they need: the keyword-only arguments of their functions, such as `cohort`."""

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

from deepspeaker.errors import UserError

F = TypeVar("F")


def look_up(what: str, name: str, table: Mapping[str, F]) -> F:
    """The function of that name; UserError with the valid names where there is none. what: for the message."""
    if name not in table:
        raise UserError(f"no {what} {name!r}; there are: {', '.join(table)}")
    return table[name]


def needs(function: Callable[..., object]) -> list[str]:
    """The names of a function's keyword-only arguments."""
    return [a.name for a in inspect.signature(function).parameters.values() if a.kind is a.KEYWORD_ONLY]


def supply(name: str, function: Callable[..., object], means: Mapping[str, object]) -> dict[str, object]:
    """The part of `means` that a function needs; UserError, naming the options, where one is None."""
    if missing := [f"--{need.replace('_', '-')}" for need in needs(function) if means[need] is None]:
        raise UserError(f"{name} needs {' and '.join(missing)}")
    return {need: means[need] for need in needs(function)}
