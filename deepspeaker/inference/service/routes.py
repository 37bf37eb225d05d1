"""The routes under /v1: what they take and what they answer."""

import math
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Query, Request, UploadFile
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from deepspeaker import __version__
from deepspeaker.inference import answers
from deepspeaker.inference import speaker_database as database
from deepspeaker.inference.service.work import Work
from deepspeaker.inference.speaker_database import NotEnrolled


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
    rate: int = Field(description="sampling rate to which recordings are converted, Hz", examples=[16000])
    backend: str = Field(description="what scores", examples=["cosine"])
    prior: float = Field(description="prior probability of the same speaker at which decisions are made by default",
                         examples=[0.01])
    threshold: float = Field(description="log-likelihood ratio from which recordings are of one speaker, at this prior",
                             examples=[4.595])
    bounds: tuple[float | None, float | None] = Field(
        description="the lowest and the highest log-likelihood ratio that the development data support; null: any",
        examples=[[-3.95, 5.16]])
    summary: dict[str, Any] = Field(description="training data, date, results and calibration, as model.pt has them")
    origin: dict[str, str] = Field(description="of a network that another project trained")
    database: str = Field(description="name of the file of enrolled speakers", examples=["people.db"])


class Embedding(BaseModel):
    """A recording as the network hears it."""

    embedding: list[float] = Field(description="of unit length", examples=[[0.6, -0.8]])
    trust: answers.Judged


class People(BaseModel):
    speakers: list[answers.Enrolled]


def of_app(request: Request) -> Work:
    work: Work = request.app.state.work
    return work


AtWork = Annotated[Work, Depends(of_app)]


def threshold(work: AtWork,
              prior: Annotated[float | None, Query(description="prior probability that the speakers are the same "
                                                               "(default: the model's)")] = None,
              cost_miss: Annotated[float, Query(description="cost of rejecting the speaker")] = 1.0,
              cost_fa: Annotated[float, Query(description="cost of accepting another speaker")] = 1.0) -> float:
    return work.model.threshold(prior, cost_miss, cost_fa)


Threshold = Annotated[float, Depends(threshold)]
Recording = Annotated[UploadFile, File(description="a sound file")]
Channel = Annotated[int | None, Query(ge=0, description="channel to take of a recording with several, 0: the first "
                                                        "(default: their mean)")]
NO_SPEAKER: dict[int | str, dict[str, Any]] = {404: {"model": Error}}
router = APIRouter(prefix="/v1")


@router.get("/health", summary="Whether the service answers; needs no token")
async def health() -> Health:
    return Health(status="ok")


@router.get("/model", summary="The model, and the threshold of its decisions")
async def about(work: AtWork) -> About:
    model = work.model
    low, high = (bound if math.isfinite(bound) else None for bound in model.bounds)
    return About(version=__version__, network=model.config.model.name, fingerprint=model.fingerprint,
                 dimensions=model.dimensions, rate=model.rate, backend=model.backend, prior=model.prior,
                 threshold=model.threshold(), bounds=(low, high), summary=model.summary, origin=model.origin,
                 database=work.people.name)


@router.post("/embeddings", summary="The embedding of a recording, and how good the recording is")
async def embed(work: AtWork, request: Request, recording: Recording, channel: Channel = None) -> Embedding:
    heard = (await work.hear(request, {"recording": recording}, channel))["recording"]
    return Embedding(embedding=heard.embedding.tolist(), trust=answers.judged(heard.trust))


@router.post("/verifications", summary="Whether two recordings have the same speaker")
async def verify(work: AtWork, request: Request, limit: Threshold, first: Recording, second: Recording,
                 channel: Channel = None) -> answers.Verified:
    heard = await work.hear(request, {"first": first, "second": second}, channel)
    first_heard, second_heard = heard.items()
    return await run_in_threadpool(answers.verify, work.model, limit, first_heard, [second_heard])


@router.post("/identifications", summary="Who of the enrolled speakers speaks in a recording", responses=NO_SPEAKER)
async def identify(work: AtWork, request: Request, limit: Threshold, recording: Recording, channel: Channel = None,
                   top: Annotated[int, Query(ge=1, le=100, description="speakers to name, the likeliest first")] = 5
                   ) -> answers.Identified:
    heard = (await work.hear(request, {"recording": recording}, channel))["recording"]
    people = await work.ask(database.recordings)
    return await run_in_threadpool(answers.identify, work.model, limit, people, heard, top)


@router.get("/speakers", summary="All enrolled speakers")
async def speakers(work: AtWork) -> People:
    try:
        found = await work.ask(database.speakers)
    except NotEnrolled:
        found = []
    return People(speakers=[answers.Enrolled(**speaker._asdict()) for speaker in found])


@router.get("/speakers/{name:path}", summary="One enrolled speaker", responses=NO_SPEAKER)
async def speaker(work: AtWork, name: str) -> answers.Enrolled:
    return answers.Enrolled(**(await work.ask(database.speaker, name))._asdict())


@router.put("/speakers/{name:path}", summary="Enrol a speaker, or add recordings to one; a recording that the speaker "
                                             "has is not added again")
async def enroll(work: AtWork, request: Request, name: str, recordings: Annotated[list[UploadFile], File(
        description="one sound file or several")], channel: Channel = None) -> answers.Added:
    name = database.check_name(name)
    uploads = {f"recording {number}": upload for number, upload in enumerate(recordings, 1)}
    heard = await work.hear(request, uploads, channel)
    return answers.added(await work.ask(database.enroll, name, [*heard.values()], False), heard)


@router.delete("/speakers/{name:path}", summary="Forget a speaker: nothing is left in the database",
               responses=NO_SPEAKER)
async def forget(work: AtWork, name: str) -> answers.Enrolled:
    return answers.Enrolled(**(await work.ask(database.remove, name))._asdict())
