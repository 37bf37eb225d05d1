"""The routes of the service: what they take, what they answer, and with which status they fail."""

import asyncio
import math
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, File, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from deepspeaker import __version__
from deepspeaker.audio.content import Content
from deepspeaker.audio.decoding import Limits
from deepspeaker.audio.reading import Audio, decode
from deepspeaker.errors import UserError, quoted
from deepspeaker.inference import answers
from deepspeaker.inference import speaker_database as database
from deepspeaker.inference.model import Model
from deepspeaker.inference.recordings import Heard
from deepspeaker.inference.service.budget import Budget, Spent
from deepspeaker.inference.service.guard import error
from deepspeaker.inference.service.listeners import Busy, Listeners, Waiting
from deepspeaker.inference.speaker_database import NotEnrolled

LIMITS = Limits(seconds=600.0, expansion=1000.0)  # of an upload
MOST_UPLOADS = 20  # of a request
PAGE = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css"),
        **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("page", "recorder", "scale")}}
ABOUT = """Embeddings and decisions of a trained speaker-verification model. Every error is `{"error": "a sentence"}`.
Recordings are WAV, FLAC, MP3, M4A, WebM and whatever else libsndfile or FFmpeg reads. A request has at most 30 MB, each
recording at most 10 minutes."""
STATUS = {404: "there is nothing at this address: /openapi.json lists what there is",
          405: "this address does not take this method: /openapi.json lists what it takes"}
EXPECTED = {"int_parsing": "an integer", "float_parsing": "a number", "greater_than_equal": "at least {ge}",
            "less_than_equal": "at most {le}"}  # kinds of pydantic's faults
T = TypeVar("T")


class Error(BaseModel):
    """What went wrong, in a sentence."""

    error: str = Field(examples=["recording: no speech found in 3.0 s: silence"])


class Health(BaseModel):
    status: str = Field(examples=["ok"])


class About(BaseModel):
    """The model that answers."""

    version: str
    network: str = Field(examples=["rescnn"])
    fingerprint: str = Field(description="SHA-256 of all that embeddings depend on")
    dimensions: int = Field(description="values of an embedding")
    rate: int = Field(description="sampling rate to which recordings are converted, Hz")
    backend: str = Field(description="what scores", examples=["cosine"])
    prior: float = Field(description="prior probability of the same speaker at which decisions are made by default")
    threshold: float = Field(description="log-likelihood ratio from which recordings are of one speaker, at this prior")
    bounds: tuple[float | None, float | None] = Field(
        description="the lowest and the highest log-likelihood ratio that the development data support; null: any")
    summary: dict[str, Any] = Field(description="training data, date, results and calibration, as model.pt has them")
    origin: dict[str, str] = Field(description="of a network that another project trained")
    database: str = Field(description="name of the file of enrolled speakers", examples=["people.db"])


class Embedding(BaseModel):
    """A recording as the network hears it."""

    embedding: list[float] = Field(description="of unit length")
    trust: answers.Judged


class People(BaseModel):
    speakers: list[answers.Enrolled]


Recording = Annotated[UploadFile, File(description="a sound file")]
Channel = Annotated[int | None, Query(ge=0, description="channel to take of a recording with several, 0: the first "
                                                        "(default: their mean)")]


class Service:
    """A model, its speakers, and the threads that listen."""

    def __init__(self, model: Model, people: Path, threads: int) -> None:
        self.model, self.people = model, people
        self._listeners, self._budget = Listeners(model, threads), Budget()

    async def hear(self, request: Request, uploads: Mapping[str, UploadFile], channel: int | None) -> dict[str, Heard]:
        """Name of each upload -> what is heard in it. The client may go away: then nothing more is done."""
        client = request.client.host if request.client else ""
        self._budget.check(client)
        heard = [asyncio.wrap_future(future) for future in self._listeners.hear([
            Waiting(name, upload.size or 0, partial(self._read, client, name, upload, channel))
            for name, upload in uploads.items()])]
        everything, gone = asyncio.gather(*heard), asyncio.create_task(_gone(request))
        everything.add_done_callback(asyncio.Future.exception)  # else asyncio prints it where the client has gone
        try:
            await asyncio.wait((everything, gone), return_when=asyncio.FIRST_COMPLETED)
            if not everything.done():
                raise HTTPException(499, "the client went away")
            return dict(zip(uploads, everything.result(), strict=True))
        finally:
            gone.cancel()
            for future in heard:
                future.cancel()

    def _read(self, client: str, name: str, upload: UploadFile, channel: int | None) -> Audio:
        """An upload's sound at the model's rate; in a listener's thread. What waited may find the budget used up."""
        self._budget.check(client)
        with self._budget.spending(client):
            content = upload.file.read()
            if not content:
                raise UserError(f"{name} is empty")
            return decode(Content(name, content), self.model.rate, channel=channel, limits=LIMITS)

    async def ask(self, function: Callable[..., T], *arguments: object) -> T:
        """What a function of speaker_database answers. HTTPException where the file cannot be used."""
        try:
            return await run_in_threadpool(function, self.people, self.model, *arguments)
        except NotEnrolled:
            raise
        except UserError as reason:
            print(f"deepspeaker: {reason}", flush=True)
            raise HTTPException(503, "the database of speakers cannot be used: the server has printed why") from None


async def _gone(request: Request) -> None:
    """Wait until the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def make_app(model: Model, people: Path, threads: int) -> FastAPI:
    """The application. people: the database of enrolled speakers, made when the first one is."""
    app = FastAPI(title="Deep Speaker", version=__version__, description=ABOUT, docs_url=None, redoc_url=None,
                  redirect_slashes=False, form_limits={"max_files": MOST_UPLOADS, "max_fields": MOST_UPLOADS},
                  responses={422: {"model": Error}, 503: {"model": Error}})
    _add_errors(app)
    for path, (name, kind) in PAGE.items():
        content = files(__package__).joinpath("page", name).read_bytes()
        app.router.add_route(path, partial(_file, Response(content, media_type=kind)), include_in_schema=False)
    _add_routes(app, Service(model, people, threads))
    return app


async def _file(content: Response, request: Request) -> Response:
    return content


def _add_errors(app: FastAPI) -> None:
    """Every exception as {"error": sentence}."""
    app.add_exception_handler(HTTPException, lambda _, e: error(
        e.status_code, STATUS.get(e.status_code, str(e.detail)), e.headers))
    app.add_exception_handler(RequestValidationError, lambda _, e: error(422, _in_words(e.errors()[0])))
    app.add_exception_handler(UserError, lambda _, e: error(422, str(e)))
    app.add_exception_handler(Busy, lambda _, e: error(503, str(e), {"retry-after": "1"}))
    app.add_exception_handler(Spent, lambda _, e: error(429, str(e), {"retry-after": f"{math.ceil(e.wait)}"}))
    app.add_exception_handler(NotEnrolled, lambda request, _: error(404, _nobody(request.path_params.get("name"))))
    app.add_exception_handler(Exception, lambda *_: error(500, "a bug: the server has printed where"))


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


def _add_routes(app: FastAPI, service: Service) -> None:
    model = service.model

    def threshold(
            prior: Annotated[float | None, Query(description="prior probability that the speakers are the same "
                                                             "(default: the model's)")] = None,
            cost_miss: Annotated[float, Query(description="cost of rejecting the speaker")] = 1.0,
            cost_fa: Annotated[float, Query(description="cost of accepting another speaker")] = 1.0) -> float:
        return model.threshold(prior, cost_miss, cost_fa)

    Threshold = Annotated[float, Depends(threshold)]

    @app.get("/v1/health", summary="Whether the service answers; needs no token")
    async def health() -> Health:
        return Health(status="ok")

    @app.get("/v1/model", summary="The model, and the threshold of its decisions")
    async def about() -> About:
        low, high = (bound if math.isfinite(bound) else None for bound in model.bounds)
        return About(version=__version__, network=model.config.model.name, fingerprint=model.fingerprint,
                     dimensions=model.dimensions, rate=model.rate, backend=model.backend, prior=model.prior,
                     threshold=model.threshold(), bounds=(low, high), summary=model.summary, origin=model.origin,
                     database=service.people.name)

    @app.post("/v1/embeddings", summary="The embedding of a recording, and how good the recording is")
    async def embed(request: Request, recording: Recording, channel: Channel = None) -> Embedding:
        heard = (await service.hear(request, {"recording": recording}, channel))["recording"]
        return Embedding(embedding=heard.embedding.tolist(), trust=answers.judged(heard.trust))

    @app.post("/v1/verifications", summary="Whether two recordings have the same speaker")
    async def verify(request: Request, limit: Threshold, first: Recording, second: Recording,
                     channel: Channel = None) -> answers.Verified:
        heard = await service.hear(request, {"first": first, "second": second}, channel)
        return answers.verify(model, limit, ("first", heard["first"]), [("second", heard["second"])])

    @app.post("/v1/identifications", summary="Who of the enrolled speakers speaks in a recording")
    async def identify(request: Request, limit: Threshold, recording: Recording, channel: Channel = None,
                       top: Annotated[int, Query(ge=1, le=100, description="speakers to name, the likeliest first")] = 5
                       ) -> answers.Identified:
        heard = (await service.hear(request, {"recording": recording}, channel))["recording"]
        people = await service.ask(database.recordings)
        if not people:
            raise NotEnrolled
        return await run_in_threadpool(answers.identify, model, limit, people, heard, top)

    @app.get("/v1/speakers", summary="All enrolled speakers")
    async def speakers() -> People:
        try:
            found = await service.ask(database.speakers)
        except NotEnrolled:
            found = []
        return People(speakers=[answers.Enrolled(**speaker._asdict()) for speaker in found])

    @app.get("/v1/speakers/{name:path}", summary="One enrolled speaker", responses={404: {"model": Error}})
    async def speaker(name: str) -> answers.Enrolled:
        return answers.Enrolled(**(await service.ask(database.speaker, name))._asdict())

    @app.put("/v1/speakers/{name:path}", summary="Enrol a speaker, or add recordings to one; one that the speaker has "
                                                 "already is not added again")
    async def enroll(request: Request, name: str, recordings: Annotated[list[UploadFile], File(
            description="one sound file or several")], channel: Channel = None) -> answers.Added:
        name = database.check_name(name)
        uploads = {f"recording {number}": upload for number, upload in enumerate(recordings, 1)}
        heard = await service.hear(request, uploads, channel)
        found = await service.ask(database.enroll, name, [*heard.values()], False)
        return answers.added(found, heard)

    @app.delete("/v1/speakers/{name:path}", summary="Forget a speaker: nothing is left in the database",
                responses={404: {"model": Error}})
    async def forget(name: str) -> answers.Enrolled:
        return answers.Enrolled(**(await service.ask(database.remove, name))._asdict())
