"""Command lines of the tools in utils/, read as Kaldi's tools do, and the start and end of these tools."""

import gc
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from deepspeaker.errors import UserError, run


def parse(args: list[str], defaults: Mapping[str, object], usage: str) -> tuple[dict[str, Any], list[str]]:
    """Read leading options: (name -> value, the arguments after them).

    `defaults` maps an option's name (with its dashes) to its default; one whose default is False is a flag,
    any other takes the next argument whatever it looks like (`--utt-suffix -noise`), or what follows `=`.
    `--help` prints the usage.
    """
    values = dict(defaults)
    args = list(args)
    while args and args[0].startswith("-") and args[0] != "-":
        name, equals, value = args.pop(0).partition("=")
        if name in ("--help", "-h"):
            print(f"usage: {usage}", file=sys.stderr)
            sys.exit(0)
        if name not in values:
            raise UserError(f"invalid option {name}; usage: {usage}")
        if defaults[name] is False:
            if equals:
                raise UserError(f"{name} takes no value, found {name}={value}")
            values[name] = True
        elif equals or args:
            values[name] = value if equals else args.pop(0)
        else:
            raise UserError(f"{name} needs a value; usage: {usage}")
    return values, args


def expect(args: list[str], counts: tuple[int, ...], usage: str) -> list[str]:
    """The arguments, if there are as many as one of `counts`; UserError with the usage otherwise."""
    if len(args) not in counts:
        raise UserError(f"{len(args)} arguments; usage: {usage}")
    return args


def number(text: str, what: str) -> int:
    """A whole number above 0, or UserError."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserError(f"expected a whole number above 0 as {what}, found {text!r}")
    return int(text)


def door(main: Callable[[], int | None]) -> None:
    """Run a tool's main function; it ends without a message when nobody reads its output any more (`| head`)."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    gc.disable()  # tables of a million lines hold no cycles; looking for some takes a third of the time

    def flushed() -> int | None:
        status = main()
        sys.stdout.flush()  # here, so that a full disk is an error with a message
        return status

    run(flushed)


def shell_door(main: Callable[[], int | None]) -> None:
    """As `door`, for a tool started by a shell script, which hands over its own $0 before its arguments."""
    del sys.argv[0]
    door(main)
