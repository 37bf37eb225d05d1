"""What every request passes first: who may ask, how much may be sent, how slowly. And the headers of every answer."""

import asyncio
import hmac
import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepspeaker.errors import one_line

MOST_BYTES = 30_000_000  # of a request
MOST_IGNORED = 300_000_000  # of a request that is too large: read to its end, but not kept
MOST_REQUESTS = 64  # at once; more are told to come again
PATIENCE, SLOWEST = 10.0, 32_000  # a request must have come within so many seconds, and one more for so many bytes
OPEN = ("/v1/health", "/openapi.json")  # under these no token is needed, nor for the page, which holds nothing
CHARSET = re.compile(r'charset\s*=[\s"]*([^\s";]*)')  # of a form; Python keeps each name of one that it looks up
CLOSE = {"connection": "close"}  # what is still to come is not read
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src "
                               "'self' data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors "
                               "'none'",
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()"}


def error(status: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """How every error is answered."""
    return JSONResponse({"error": one_line(reason)}, status, headers)


class Guard:
    """An ASGI application around another one.

    token: what requests must bring; None: only programs and pages of this machine may ask, by "localhost" or a loopback
    address.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token, self._requests = app, token, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        self._requests += 1
        try:
            self._check(scope["path"], Headers(scope=scope))
        except HTTPException as refused:
            await error(refused.status_code, refused.detail, refused.headers)(scope, receive, answer)
        else:
            await self._app(scope, _limited(receive), answer)
        finally:
            self._requests -= 1

    def _check(self, path: str, headers: Headers) -> None:
        """HTTPException for a request that may not be answered."""
        if self._token is None:
            self._check_local(headers)
        elif path.startswith("/v1/") and path not in OPEN and not self._authorised(headers):
            raise HTTPException(401, "expected the header 'Authorization: Bearer TOKEN' with the token of this server",
                                {"www-authenticate": "Bearer"})
        if {*CHARSET.findall(headers.get("content-type", "").lower())} - {"", "utf-8", "utf8"}:
            raise HTTPException(400, "expected a form whose names are in UTF-8, found another charset")
        if self._requests > MOST_REQUESTS:
            raise HTTPException(503, "too many requests at once: try again in a moment", {"retry-after": "1"})

    def _authorised(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        expected = (self._token or "").encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected)

    def _check_local(self, headers: Headers) -> None:
        """HTTPException for pages of other sites, which a browser on this machine may show."""
        host = headers.get("host", "")
        if not _is_local(host):
            raise HTTPException(403, "without a token this server answers only to localhost, 127.0.0.1 and [::1]: give "
                                     "it a token to reach it under another name")
        if any(origin and origin.partition("://")[2] != host for origin in headers.getlist("origin")):
            raise HTTPException(403, "pages of other sites may not ask this server")


def _is_local(host: str) -> bool:
    """Whether a header Host, which may have a port, names this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _limited(receive: Receive) -> Receive:
    """`receive`, which refuses a body that is too large or comes too slowly."""
    loop = asyncio.get_running_loop()
    start, size, more = loop.time(), 0, True

    async def limited() -> Message:
        nonlocal size, more
        if not more:
            return await receive()  # that the client goes away
        while more:
            try:
                async with asyncio.timeout_at(start + PATIENCE + size / SLOWEST):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the request came at less than {SLOWEST} bytes per second", CLOSE) from None
            size += len(message.get("body", b""))
            more = message.get("more_body", False) and size <= MOST_IGNORED
            if size <= MOST_BYTES:
                return message
        # it was read to its end, for a client that still sends sees no answer
        raise HTTPException(413, f"expected a request of at most {MOST_BYTES // 1_000_000} MB", CLOSE)

    return limited
