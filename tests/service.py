"""A server of the command `deepspeaker serve` in a process of its own, and requests to it."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT, environment

BOUNDARY = "a-boundary-that-no-sound-contains"


class Answer(NamedTuple):
    status: int
    json: object  # None for another type
    headers: dict[str, str]  # with lower-case names
    body: bytes


def multipart(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """A body with a file for each (field, content), whose own name is none that anybody should use."""
    head = '--{}\r\nContent-Disposition: form-data; name="{}"; filename="../../etc/passwd"\r\n\r\n'
    return b"".join(head.format(BOUNDARY, field).encode() + content + b"\r\n" for field, content in parts) + (
        f"--{BOUNDARY}--\r\n".encode())


class Server:
    """Where a running server answers."""

    def __init__(self, process: subprocess.Popen, address: str, folder: Path) -> None:
        self.process, self.address, self.folder = process, address, folder
        self.host, port = address.removeprefix("http://").rsplit(":", 1)
        self.port = int(port)

    def ask(self, method: str, path: str, files: Iterable[tuple[str, bytes]] = (), body: bytes | None = None,
            **headers: str) -> Answer:
        """One request on a connection of its own."""
        if files:
            body = multipart(files)
            headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **headers}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=100)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            found, headers = answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        is_json = headers.get("content-type", "").startswith("application/json")
        return Answer(answer.status, json.loads(found) if is_json else None, headers, found)

    def memory(self) -> float:
        """MB of the process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


@contextmanager
def serving(model: Path, database: Path, *options: object, **variables: str) -> Iterator[Server]:
    """A server on a free port; it ends with the block."""
    words = [sys.executable, "-m", "deepspeaker", "serve", model, database, "--port", 0, "--json", *options]
    with subprocess.Popen([*map(str, words)], env=environment(PYTHONPATH=str(ROOT), **variables), cwd=database.parent,
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process, json.loads(process.stdout.readline())["address"], database.parent)
        finally:
            process.kill()
