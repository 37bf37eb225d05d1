"""uvicorn's HTTP/1.1, with three changes: a request's head must come soon, an answer must be read soon, and what is no
HTTP is answered in JSON."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from deepspeaker.inference.service.guard import HEADERS

HEAD_SECONDS = 10.0  # from the first byte of a request's head to its last
READ_SECONDS = 30.0  # in which a client must have read what waits for it, once that is much


class Alarm:
    """Something that is done after some seconds, unless it is called off before."""

    _handle: asyncio.TimerHandle | None = None

    def set(self, loop: asyncio.AbstractEventLoop, seconds: float, action: Callable[[], None]) -> None:
        """One that is set already stays as it is."""
        if self._handle is None:
            self._handle = loop.call_later(seconds, action)

    def call_off(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Protocol(H11Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_late, self._answer_unread = Alarm(), Alarm()
        self._limit_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._limit_head()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._head_late.call_off()
        self._answer_unread.call_off()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer_unread.set(self.loop, READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._answer_unread.call_off()

    def _limit_head(self) -> None:
        """Close the connection in HEAD_SECONDS unless a request comes, or is being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_late.call_off()
        else:
            self._head_late.set(self.loop, HEAD_SECONDS, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        body = json.dumps({"error": "this is not a request of HTTP/1.1, or its head has more than 64 KiB"}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close"),
                   *HEADERS.items()]
        if self.cycle is not None:
            self.cycle.disconnected = True  # an answer that is still to come is not sent behind this one
        with suppress(h11.LocalProtocolError):  # an answer is on its way already
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
