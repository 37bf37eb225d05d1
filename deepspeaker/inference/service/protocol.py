"""uvicorn's HTTP/1.1, with three changes: a request's head must come soon, an answer must be read soon, and what is no
HTTP is answered in JSON."""

import asyncio
import json
from contextlib import suppress

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from deepspeaker.inference.service.guard import HEADERS

HEAD_SECONDS = 10.0  # from the first byte of a request's head to its last
READ_SECONDS = 30.0  # in which a client must have read what waits for it, once that is much


class Protocol(H11Protocol):
    """One connection."""

    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._limit_head()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._stop_timer()
        self._stop_read_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_timer = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_read_timer()

    def _limit_head(self) -> None:
        """Close the connection in HEAD_SECONDS unless a request comes, or is being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

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
