"""Ending all processes that a program started, and those that these started."""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

GRACE = 5.0  # seconds between SIGTERM and SIGKILL: enough to remove a temporary file
PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h


class Interrupted(Exception):
    """SIGINT or SIGTERM came; the argument is its number."""


def interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


def handle_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Call it on SIGINT and SIGTERM, even where SIGINT came ignored, as it does to a script's background jobs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent dies, so that `descendants` still finds it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[int]:
    """The ids of all processes below this one, from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended meanwhile
        if state != "Z":
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found, ahead = [], [os.getpid()]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end_all() -> None:
    """Send SIGTERM to all descendants, and SIGKILL to those left after GRACE seconds."""
    warned: set[int] = set()
    until = time.monotonic() + GRACE
    while (pids := descendants()) and time.monotonic() < until:
        send(set(pids) - warned, signal.SIGTERM)
        warned.update(pids)
        time.sleep(0.05)
    send(pids, signal.SIGKILL)
