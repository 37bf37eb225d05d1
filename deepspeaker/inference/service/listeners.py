"""Recordings of many requests, heard by a few threads: each takes several waiting ones of similar length together."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import ceil
from threading import Condition, Thread

import torch

from deepspeaker.audio.reading import Audio
from deepspeaker.errors import UserError
from deepspeaker.inference.bulk import GROUP_BYTES, GROUP_FILES
from deepspeaker.inference.model import Model
from deepspeaker.inference.recordings import Heard

SIMILAR = 2.0  # the size of a recording over that of another one that is heard together with it, at most
MOST_WAITING = 64  # recordings


class Busy(UserError):
    """So many recordings wait that no more are taken."""


@dataclass(eq=False)
class Waiting:
    """A recording that waits to be heard. Its future may be cancelled as long as it waits."""

    name: str  # which errors begin with
    size: int  # bytes of the file
    read: Callable[[], Audio]
    future: Future[Heard] = field(default_factory=Future)


class Listeners:
    """Threads that hear recordings, in the order in which they come."""

    def __init__(self, model: Model, threads: int) -> None:
        self._model, self._threads = model, threads
        self._waiting: list[Waiting] = []
        self._change = Condition()
        for number in range(threads):
            Thread(target=self._listen, name=f"listener {number}", daemon=True).start()

    def hear(self, recordings: Sequence[Waiting]) -> list[Future[Heard]]:
        """Futures of what is heard in these recordings; their exceptions are UserErrors. Busy, and none is heard, if
        too many wait."""
        with self._change:
            if len(self._waiting) + len(recordings) > MOST_WAITING:
                raise Busy("too many recordings wait to be heard: try again in a moment")
            self._waiting += recordings
            self._change.notify(len(recordings))
        return [recording.future for recording in recordings]

    def _listen(self) -> None:
        torch.set_num_threads(1)
        while True:
            group = [each for each in self._take() if each.future.set_running_or_notify_cancel()]
            if not group:
                continue
            try:
                found = self._model.hear_together((each.name, each.read) for each in group)
            except Exception as error:
                for each in group:
                    each.future.set_exception(error)
                continue
            for each, heard in zip(group, found, strict=True):
                if isinstance(heard, Heard):
                    each.future.set_result(heard)
                else:
                    each.future.set_exception(heard)

    def _take(self) -> list[Waiting]:
        """The recording that has waited longest, and others of similar size: a thread's share of all that wait."""
        with self._change:
            self._change.wait_for(lambda: self._waiting)
            most = min(GROUP_FILES, ceil(len(self._waiting) / self._threads))
            group, size = self._waiting[:1], self._waiting[0].size
            for other in self._waiting[1:]:
                similar = other.size <= SIMILAR * group[0].size and group[0].size <= SIMILAR * other.size
                if similar and len(group) < most and size + other.size <= GROUP_BYTES:
                    group.append(other)
                    size += other.size
            self._waiting = [each for each in self._waiting if each not in group]
            return group
