"""What routes need done: recordings heard, the database asked. A client may go away meanwhile."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request, UploadFile
from starlette.exceptions import HTTPException

from deepspeaker.audio.content import Content
from deepspeaker.audio.decoding import Limits
from deepspeaker.audio.reading import Audio, decode
from deepspeaker.errors import UserError
from deepspeaker.inference.model import Model
from deepspeaker.inference.recordings import Heard
from deepspeaker.inference.service.budget import Budget
from deepspeaker.inference.service.listeners import Listeners, Waiting
from deepspeaker.inference.speaker_database import NotEnrolled

CLERKS = 8  # threads that may ask the database at once, or wait where another process has locked it
LIMITS = Limits(seconds=600.0, expansion=1000.0)  # of a recording
T = TypeVar("T")


class Work:
    """A model, its speakers, and the threads that listen.

    people: the database of enrolled speakers, made when the first one is.
    """

    def __init__(self, model: Model, people: Path, threads: int) -> None:
        self.model, self.people = model, people
        self._listeners, self._budget = Listeners(model, threads), Budget()
        self._clerks = CapacityLimiter(CLERKS)

    async def hear(self, request: Request, uploads: Mapping[str, UploadFile], channel: int | None) -> dict[str, Heard]:
        """Name of each upload -> what is heard in it. If the client goes away, what still waits is dropped."""
        client = request.client.host if request.client else ""
        self._budget.check(client)
        futures = self._listeners.hear([
            Waiting(name, upload.size or 0, partial(self._read, client, name, upload, channel))
            for name, upload in uploads.items()])
        heard, gone = asyncio.create_task(_all(futures)), asyncio.create_task(_gone(request))
        try:
            await asyncio.wait((heard, gone), return_when=asyncio.FIRST_COMPLETED)
            if not heard.done():
                raise HTTPException(499, "the client went away")
            return dict(zip(uploads, heard.result(), strict=True))
        finally:
            gone.cancel()
            heard.cancel()

    def _read(self, client: str, name: str, upload: UploadFile, channel: int | None) -> Audio:
        """An upload's sound at the model's rate; in a listener's thread. What waited may find the budget used up."""
        self._budget.check(client)
        with self._budget.spending(client):
            content = upload.file.read()
            if not content:
                raise UserError(f"{name} is empty")
            return decode(Content(name, content), self.model.rate, channel=channel, limits=LIMITS)

    async def ask(self, function: Callable[..., T], *arguments: object) -> T:
        """What a function of speaker_database answers. NotEnrolled; HTTPException where the file cannot be used."""
        try:
            asked = partial(function, self.people, self.model, *arguments)
            return await to_thread.run_sync(asked, limiter=self._clerks)
        except NotEnrolled:
            raise
        except UserError as reason:
            print(f"deepspeaker: {reason}", file=sys.stderr, flush=True)
            raise HTTPException(503, "the database of speakers cannot be used: the server has printed why",
                                {"retry-after": "60"}) from None


async def _all(futures: Sequence[Future[Heard]]) -> list[Heard]:
    """What all of them hear, or the first one's error. Those that still wait are cancelled with this."""
    found = await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [each for each in found if isinstance(each, Heard)]


async def _gone(request: Request) -> None:
    """Wait until the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
