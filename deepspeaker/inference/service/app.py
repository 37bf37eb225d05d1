"""The application: the page, the routes, and every error as JSON."""

import math
import sys
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deepspeaker import __version__, config_checks
from deepspeaker.errors import UserError, quoted
from deepspeaker.inference.service.budget import Spent
from deepspeaker.inference.service.guard import MOST_BYTES, error
from deepspeaker.inference.service.listeners import Busy
from deepspeaker.inference.service.routes import Error, router
from deepspeaker.inference.service.work import LIMITS, Work
from deepspeaker.inference.speaker_database import NotEnrolled

MOST_UPLOADS = 20  # of a request
PAGE = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css"),
        **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("page", "recorder", "scale")}}
ABOUT = f"""Embeddings and decisions of a trained speaker-verification model. Every error is
`{{"error": "a sentence"}}`. Recordings are WAV, FLAC, MP3, M4A, WebM and whatever else libsndfile or FFmpeg reads.
A request has at most {MOST_BYTES // 1_000_000} MB, each recording at most {LIMITS.seconds / 60:g} minutes."""
STATUS = {404: "there is nothing at this address: /openapi.json lists what there is",
          405: "this address does not take this method: /openapi.json lists what it takes"}
EXPECTED = {**config_checks.EXPECTED, "int_parsing": "an integer", "int_parsing_size": "an integer",
            "float_parsing": "a number"}  # kinds of pydantic's faults


def make_app(work: Work) -> FastAPI:
    app = FastAPI(title="Deep Speaker", version=__version__, description=ABOUT, docs_url=None, redoc_url=None,
                  redirect_slashes=False, form_limits={"max_files": MOST_UPLOADS, "max_fields": MOST_UPLOADS},
                  responses={422: {"model": Error}, 503: {"model": Error}})
    app.state.work = work
    app.include_router(router)
    for path, (name, kind) in PAGE.items():
        content = files(__package__).joinpath("page", name).read_bytes()
        app.router.add_route(path, partial(_file, Response(content, media_type=kind)), include_in_schema=False)
    _add_errors(app)
    return app


async def _file(content: Response, request: Request) -> Response:
    return content


def _add_errors(app: FastAPI) -> None:
    """Every exception as {"error": sentence}."""
    app.add_exception_handler(HTTPException, lambda _, e: _refused(e))
    app.add_exception_handler(RequestValidationError, lambda _, e: error(422, _in_words(e.errors()[0])))
    app.add_exception_handler(UserError, lambda _, e: error(422, str(e)))
    app.add_exception_handler(Busy, lambda _, e: error(503, str(e), {"retry-after": "1"}))
    app.add_exception_handler(Spent, lambda _, e: error(429, str(e), {"retry-after": f"{math.ceil(e.wait)}"}))
    app.add_exception_handler(NotEnrolled, lambda request, _: error(404, _nobody(request.path_params.get("name"))))
    app.add_exception_handler(Exception, lambda *_: error(500, "a bug: the server has printed where"))


def _refused(reason: HTTPException) -> Response:
    """What the framework or a route refuses. FastAPI takes a full disk for a fault of the form."""
    if isinstance(reason.__cause__, OSError):
        print(f"deepspeaker: an upload cannot be stored: {reason.__cause__}", file=sys.stderr, flush=True)
        return error(503, "the server has no room for this upload: it has printed why", {"retry-after": "60"})
    return error(reason.status_code, STATUS.get(reason.status_code, str(reason.detail)), reason.headers)


def _nobody(name: str | None) -> str:
    return "nobody is enrolled" + ("" if name is None else f" as {quoted(name)}")


def _in_words(fault: Mapping[str, Any]) -> str:
    """One of pydantic's faults of a request as a sentence."""
    place, *names = fault["loc"]
    name = ".".join(map(str, names)) or "the request"
    if place == "body":
        return f"{name}: expected as a file of multipart/form-data"
    expected = EXPECTED.get(fault["type"], "").format(**fault.get("ctx", {})) or fault["msg"]
    return f"{name}: expected {expected}, found {quoted(str(fault['input']))}"
