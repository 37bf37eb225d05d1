"""The process that serves: where it listens, who may ask, how it starts and ends."""

import logging
import socket
from ipaddress import ip_address
from pathlib import Path

import torch
import uvicorn

from deepspeaker.atomic import check_output
from deepspeaker.errors import UserError
from deepspeaker.inference import speaker_database as database
from deepspeaker.inference.model import Model
from deepspeaker.inference.service.app import make_app
from deepspeaker.inference.service.guard import Guard
from deepspeaker.inference.service.protocol import Protocol
from deepspeaker.inference.service.work import Work
from deepspeaker.inference.speaker_database import NotEnrolled

SHORTEST_TOKEN = 16  # characters
TO_FINISH = 8  # seconds for what has begun when the process is to end; it is gone within ten


class Server:
    """A server that listens and can answer as soon as it runs.

    token_file: a file with the token that requests must bring; None: anyone on this machine may ask. threads: that
    compute; None: one per core. UserError, before anything is served, for a model without a calibration, a database
    that cannot be used, a bad token, an address of other machines without a token, and one that is in use.
    """

    def __init__(self, model: Model, people: Path, host: str, port: int, token_file: Path | None,
                 threads: int | None) -> None:
        model.supports(model.threshold())  # decisions are what is served
        model.name = Path(model.name).name  # clients are told of no folder
        try:
            database.speakers(people, model)
        except NotEnrolled:
            check_output(people)
        token = read_token(token_file) if token_file else None
        self._socket = listen(host, port, token is not None)
        app = Guard(make_app(Work(model, people, threads or torch.get_num_threads())), token)
        logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each malformed body
        self._server = uvicorn.Server(uvicorn.Config(
            app, http=Protocol, ws="none", lifespan="off", access_log=False, log_level="error", server_header=False,
            timeout_graceful_shutdown=TO_FINISH))

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM, which then do what they do in any program."""
        self._server.run([self._socket])


def read_token(path: Path) -> str:
    """The token that a file holds. UserError for one that is short or has other characters than can be sent."""
    token = path.read_text(errors="replace").strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"{path}: expected a token of at least {SHORTEST_TOKEN} letters, digits and signs; this makes "
                        f"one: python3 -c 'import secrets; print(secrets.token_urlsafe())' >{path}")
    return token


def listen(host: str, port: int, has_token: bool) -> socket.socket:
    """A socket that listens on an address. UserError without a token where other machines could reach it."""
    if not 0 <= port < 65536:
        raise UserError(f"--port: expected 0 to 65535, found {port}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not has_token and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
            raise UserError(f"--host {host}: other machines can reach this address: give a --token-file, whose token "
                            "they must send")
        return socket.create_server(address, family=family, backlog=128)
    except OSError as error:
        raise UserError(f"port {port} of {host} cannot be used: {error.strerror}: choose another with --port") from None
