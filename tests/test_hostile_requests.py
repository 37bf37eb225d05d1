"""A thousand hostile requests: none is answered with status 500, a path or a traceback, and none costs memory."""

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import pytest
from conftest import write_wav
from service import BOUNDARY, multipart, serving
from tools import model_file, voice

COUNT, AT_ONCE, SLOW = 1000, 24, 8
MOST_GROWTH = 100  # MB
ROUTES = ("/v1/embeddings", "/v1/verifications", "/v1/identifications", "/v1/speakers/Ann", "/v1/speakers", "/v1/model",
          "/v1/health", "/", "/openapi.json", "/page.js")
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW")
TRICKS = ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/page.js/../../app.py", "/%",
          "/v1/speakers/..%2f..", "/v1/speakers/%00", "/v1/speakers/" + "%F0%9F%98%80" * 50, "/?" + "a" * 9000,
          "/v1/speakers/a%0d%0aSet-Cookie:x", "http://evil.example/v1/model", "*",
          "/v1/speakers/" + "x" * 10_000, "/v1/speakers/'; DROP TABLE recording;--")
HEADERS = (b"Content-Length: -1", b"Content-Length: 5, 6", b"Content-Length: 99999999999999999999", b": x",
           b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Transfer-Encoding: gzip", b"Expect: 100-continue",
           b"Upgrade: websocket\r\nConnection: Upgrade", b"X-Forwarded-For: " + b"1.2.3.4," * 500,
           b"Authorization: Bearer " + b"\xff" * 100, b"Host: [::1",
           b"Origin: null", b"Cookie: " + b"a=b;" * 1000, b"A: " + b"b" * 100_000,
           b"\r\n".join([b"X: y"] * 5000),
           b"Range: bytes=0-1",
           b"Content-Type: multipart/form-data; boundary=" + b"b" * 5000, b"Content-Encoding: gzip")
WRONG = (b"", b"{}", b'{"recording": 1}', b"[" * 100_000, b"\xff\xfe" * 1000, b"recording=x&first=y", b"<xml/>")


def head(method: str, path: str, *lines: bytes) -> bytes:
    first = f"{method} {path} HTTP/1.1".encode()
    return b"\r\n".join([first, b"Host: localhost", b"Connection: close", *lines, b"", b""])


def form(method: str, path: str, body: bytes, length: int | None = None) -> bytes:
    """A request with a multipart body, whose stated length may be wrong."""
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}".encode()
    return head(method, path, kind, b"Content-Length: %d" % (len(body) if length is None else length)) + body


class Attacker:
    """Draws hostile requests. sound: a good WAV."""

    def __init__(self, sound: bytes, seed: int) -> None:
        self.sound, self.rng = sound, np.random.default_rng(seed)

    def draw(self, several):
        return several[int(self.rng.integers(len(several)))]

    def wrong_types(self) -> bytes:
        kind, body = self.draw((b"application/json", b"text/plain", b"multipart/form-data", b"image/png",
                                b"application/x-www-form-urlencoded", b"\xff")), self.draw(WRONG)
        length = b"Content-Length: %d" % len(body)
        return head(self.draw(METHODS), self.draw(ROUTES), b"Content-Type: " + kind, length) + body

    def truncated(self) -> bytes:
        body = multipart([(self.draw(("recording", "first", "recordings", "x")), self.sound)])
        return form(self.draw(("POST", "PUT")), self.draw(ROUTES[:4]), body[:int(self.rng.integers(len(body)))],
                    self.draw((None, len(body))))

    def headers(self) -> bytes:
        return head(self.draw(METHODS), self.draw(ROUTES), self.draw(HEADERS), self.draw(HEADERS)) + self.draw(WRONG)

    def paths(self) -> bytes:
        return head(self.draw(METHODS), self.draw(TRICKS))

    def no_http(self) -> bytes:
        return self.rng.bytes(int(self.rng.integers(1, 5000)))

    def damaged_sound(self) -> bytes:
        sound = bytearray(self.sound)
        for place in self.rng.integers(0, self.draw((60, len(sound))), 5):
            sound[place] = int(self.rng.integers(256))
        field = self.draw(("recording", "recordings"))
        name = quote(self.draw(("Eve", "../e", "😀", "x" * 101)))
        method, path = ("POST", ROUTES[0]) if field == "recording" else ("PUT", f"/v1/speakers/{name}")
        return form(method, path, multipart([(field, bytes(sound))]))

    def many_parts(self) -> bytes:
        return form("PUT", "/v1/speakers/Ann", multipart([(self.draw(("recordings", "x" * 500)), b"x")] * 300))

    def chunks(self) -> bytes:
        lines = [b"Transfer-Encoding: chunked", f"Content-Type: multipart/form-data; boundary={BOUNDARY}".encode()]
        return head("POST", ROUTES[0], *lines) + self.draw((
            b"5\r\nabc", b"zz\r\n", b"fffffffffffffffff\r\n", b"0\r\n\r\n", b"-1\r\n\r\n",
            b"1;" + b"e" * 5000 + b"\r\na\r\n"))

    def request(self) -> bytes:
        return self.draw((self.wrong_types, self.truncated, self.headers, self.paths, self.no_http, self.damaged_sound,
                          self.many_parts, self.chunks))()


def send(server, request: bytes, patience: float) -> bytes:
    """What comes back before the client loses its patience and goes."""
    with socket.create_connection((server.host, server.port), timeout=patience) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while part := connection.recv(1 << 16):
                answer += part
        except OSError:  # the server closes, or the client has waited long enough
            pass
        return answer


def faults(answer: bytes) -> list[str]:
    """What must not be in an answer, or is missing."""
    found = []
    top, _, body = answer.partition(b"\r\n\r\n")
    status = int(top.split()[1]) if top.startswith(b"HTTP/1.1 ") else 0
    if answer and not (200 <= status < 300 or 400 <= status < 500):
        found.append(f"status {status}")
    if re.search(rb"Traceback|/work|/home|/tmp|/usr|site-packages|\.py\b|set-cookie: ", answer, re.IGNORECASE):
        found.append("tells too much")
    if status >= 400 and body and set(json.loads(body[:body.find(b"}") + 1])) != {"error"}:
        found.append("no error as JSON")
    return found


@pytest.mark.long
def test_a_thousand_hostile_requests(tmp_path):
    sound = write_wav(tmp_path / "a.wav", voice(1)).read_bytes()
    with serving(model_file(tmp_path / "model.pt"), tmp_path / "people.db", "--workers", 2) as server:
        files = [("recording", sound)]
        expected = [server.ask("POST", "/v1/embeddings", files).json["embedding"] for _ in range(20)][-1]
        before = server.memory()

        def attack(n: int) -> list[str]:
            attacker = Attacker(sound, n)
            if n < SLOW:  # waits for the answer that it was too slow; the others go before
                request, patience = form("POST", "/v1/embeddings", multipart(files)[:1000], 999_999), 30.0
            else:
                request, patience = attacker.request(), attacker.draw((0.1, 1.0))
            answer = send(server, request, patience)
            problems = faults(answer)
            if n < SLOW and b" 408 " not in answer[:20]:
                problems.append("a slow body is waited for")
            return [f"{problem}: {request[:300]!r}: {answer[:800]!r}" for problem in problems]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = [problem for problems in pool.map(attack, range(COUNT)) for problem in problems]
        assert found == []
        assert server.memory() - before < MOST_GROWTH
        assert server.ask("POST", "/v1/embeddings", files).json["embedding"] == pytest.approx(expected, abs=1e-5)
        names = {speaker["name"] for speaker in server.ask("GET", "/v1/speakers").json["speakers"]}
        assert names <= {"Eve", "Ann"}
        print(f"memory grew by {server.memory() - before:.0f} MB")
