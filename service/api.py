"""The control plane over HTTP. Takes specs, run ids and schedules as JSON, asks `submissions` and `schedules`, answers."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Header, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from service.places import Allowed
from service.schedules import Overlap, Schedule, Schedules
from service.submissions import LIVE, Submissions
from workers.errors import ClusterError, DeconvoyError, QueryError, RefusedError, RunError, RunIdError
from workers.store import paths
from workers.store.root import Root

PREFIX = "/api/v1"
EVERY_S = 1.0
Job = Literal["scan", "occlude", "invert", "sanity", "filters"]
RunId = Annotated[str, Path(pattern=r"^[a-z][a-z0-9._-]{0,99}$", description="run id")]
Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,59}$", description="name of a schedule")]


class Body(BaseModel):
    """What is sent; keys that nobody knows are refused."""

    model_config = ConfigDict(extra="forbid")


class Submission(Body):
    """A run to be made. The spec is that of `deconvoy scan --spec` and its siblings, without `root`."""

    job: Job = Field("scan", description="kind of job")
    spec: dict[str, Any] = Field(description="what to do, as in a spec file; `root` is the service's own")


class ProgressTold(BaseModel):
    """How far an attempt is; `shares` are of the actors' time, over finished shards."""

    at: str
    phase: str
    done: int
    total: int | None
    unit: str
    rejects: dict[str, int]
    per_s: float | None
    left_s: float | None
    shares: dict[str, float]
    line: str


class StatusTold(BaseModel):
    """A run, and how its last attempt is."""

    run: str
    state: Literal["published", "pending", "running", "failed", "cancelled", "lost"]
    attempt: int
    job: str
    submitted: str
    error: str
    progress: ProgressTold | None


class ScheduleAsked(Body):
    """A run that is to be submitted again and again."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,59}$")
    cron: str = Field(description="five fields, minute to day of the week", max_length=200)
    tz: str = Field("UTC", description="IANA name of the time zone", max_length=100)
    job: Job = "scan"
    spec: dict[str, Any] = Field(description="as of a submission, without `run`")
    overlap: Overlap = Overlap.REFUSE
    keep: int | None = Field(None, ge=1, description="runs that are kept when old ones are removed")


class ScheduleTold(BaseModel):
    """A schedule."""

    name: str
    cron: str
    tz: str
    job: str
    spec: dict[str, Any]
    overlap: Overlap
    keep: int | None
    paused: bool
    since: str


class FireTold(BaseModel):
    """A time at which a schedule fired, the run that it names, and why it was not submitted, if so."""

    at: str
    run: str
    refused: str


class Problem(BaseModel):
    """What was wrong: RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"description": told, "content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
    for code, told in (
        (400, "the request is no JSON"),
        (401, "a key is needed"),
        (403, "not with this key, or not this place"),
        (404, "there is no such thing"),
        (409, "it is in the way of another"),
        (422, "the request is wrong; every mistake is told"),
        (429, "too many requests"),
        (503, "the cluster does not answer"),
    )
}


def add_to(app: FastAPI, submissions: Submissions, schedules: Schedules, allowed: Allowed) -> None:
    """Add the control plane to an application."""
    router = APIRouter(prefix=PREFIX, responses=PROBLEMS)
    _add_submitting(router, submissions, allowed)
    _add_watching(router, submissions)
    _add_schedules(router, schedules, allowed)
    app.include_router(router)


def problem(status: int, detail: str) -> JSONResponse:
    """An answer that says what was wrong."""
    titles = {400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 409: "Conflict"}
    titles |= {413: "Too large", 421: "Misdirected", 422: "Unprocessable", 429: "Too many requests", 503: "Unavailable"}
    told = {"type": "about:blank", "title": titles.get(status, "Error"), "status": status, "detail": detail}
    return JSONResponse(told, status, media_type="application/problem+json")


def problem_of(error: DeconvoyError) -> JSONResponse:
    """The answer to an error that was raised on purpose."""
    codes = {RefusedError: 403, RunIdError: 422, RunError: 409, QueryError: 404, ClusterError: 503}
    return problem(next((code for kind, code in codes.items() if isinstance(error, kind)), 422), str(error))


def mistakes(error: RequestValidationError) -> JSONResponse:
    """Every mistake of a request that has not the form it should have."""
    told = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    broken = any(each["type"] == "json_invalid" for each in error.errors())
    return problem(400 if broken else 422, "; ".join(told))


def _add_submitting(router: APIRouter, submissions: Submissions, allowed: Allowed) -> None:
    @router.post("/runs", status_code=202, response_model=StatusTold, operation_id="submit")
    def submit(
        asked: Submission,
        idempotency_key: Annotated[str | None, Header(max_length=200, description="the same key: the same run")] = None,
    ) -> Any:  # noqa: ANN401 - a status
        """Submit a run, or go on with one. It answers at once; the run's own address says how it goes."""
        spec = submissions.checked(asked.job, _ours(submissions, asked.spec))
        allowed.check_spec(spec)
        if idempotency_key is not None:
            spec = _same_again(submissions.root, idempotency_key, asked, spec)
        return submissions.submit(asked.job, spec)


def _add_watching(router: APIRouter, submissions: Submissions) -> None:
    @router.get("/runs", response_model=list[StatusTold], operation_id="runs")
    def runs() -> Any:  # noqa: ANN401
        """All runs, the last submitted first."""
        return submissions.statuses()

    @router.get("/runs/{run}", response_model=StatusTold, operation_id="status")
    def status(run: RunId) -> Any:  # noqa: ANN401
        """How a run is."""
        return _found(submissions, run)

    @router.post("/runs/{run}/cancel", response_model=StatusTold, operation_id="cancel")
    def cancel(run: RunId) -> Any:  # noqa: ANN401
        """Stop a run; what it has finished stays, and submitting it again goes on from there."""
        _found(submissions, run)
        return submissions.cancel(run)

    @router.get("/runs/{run}/logs", response_class=PlainTextResponse, operation_id="logs")
    def logs(run: RunId) -> Response:
        """What the last attempt at a run has printed."""
        _found(submissions, run)
        return PlainTextResponse(submissions.logs(run))

    @router.get("/runs/{run}/events", operation_id="events", response_class=EventSourceResponse)
    async def events(run: RunId, request: Request) -> EventSourceResponse:
        """How a run goes, as server-sent events of its status, until it ends."""
        _found(submissions, run)
        return EventSourceResponse(_told(submissions, run, request))


def _add_schedules(router: APIRouter, schedules: Schedules, allowed: Allowed) -> None:
    @router.post("/schedules", status_code=201, response_model=ScheduleTold, operation_id="add_schedule")
    def add(asked: ScheduleAsked) -> Any:  # noqa: ANN401
        """Keep a schedule; it fires from now on."""
        allowed.check_spec(asked.spec)
        return schedules.add(Schedule(**asked.model_dump()))

    @router.get("/schedules", response_model=list[ScheduleTold], operation_id="schedules")
    def all_() -> Any:  # noqa: ANN401
        """Every schedule, by name."""
        return schedules.all()

    @router.get("/schedules/{name}/fires", response_model=list[FireTold], operation_id="fires")
    def fires(name: Name) -> Any:  # noqa: ANN401
        """When a schedule fired."""
        schedules.find(name)
        return schedules.fires(name)

    @router.post("/schedules/{name}/fires", status_code=202, response_model=FireTold, operation_id="run_now")
    def run_now(name: Name) -> Any:  # noqa: ANN401
        """Fire a schedule once, now."""
        return schedules.run_now(name)

    @router.post("/schedules/{name}/{what}", response_model=ScheduleTold, operation_id="pause_schedule")
    def pause(name: Name, what: Literal["pause", "resume"]) -> Any:  # noqa: ANN401
        """Let a schedule fire no more, or again."""
        return schedules.pause(name, paused=what == "pause")

    @router.delete("/schedules/{name}", status_code=204, operation_id="remove_schedule")
    def remove(name: Name) -> None:
        """Forget a schedule; its runs stay."""
        schedules.remove(name)


def _ours(submissions: Submissions, spec: dict[str, Any]) -> dict[str, Any]:
    """A spec whose root is ours, whatever it says; another one is refused."""
    root = spec.get("root", submissions.root.url)
    if root != submissions.root.url:
        raise RefusedError(f"root {root!r} is refused: this service writes under its own; leave it out")
    return {**spec, "root": submissions.root.url}


def _found(submissions: Submissions, run: str) -> Any:  # noqa: ANN401 - a status
    """How a run is; QueryError, which is 404, if there is none."""
    try:
        return submissions.status(run)
    except RunError as error:
        raise QueryError(str(error)) from error


def _same_again(root: Root, key: str, asked: Submission, spec: dict[str, Any]) -> dict[str, Any]:
    """The spec that was made of what was sent with this key first, its run id too; RunError if something else was sent."""
    body = hashlib.sha256(json.dumps(asked.model_dump(), sort_keys=True).encode()).hexdigest()
    path = paths.idempotency_path(hashlib.sha256(key.encode()).hexdigest())
    root.create(path, json.dumps({"body": body, "spec": spec}).encode())
    told = json.loads(root.read(path))
    if told["body"] != body:
        raise RunError("this Idempotency-Key was sent with another submission; make a new one")
    return dict(told["spec"])


async def _told(submissions: Submissions, run: str, request: Request) -> AsyncIterator[ServerSentEvent]:
    before = None
    while not await request.is_disconnected():
        found = await asyncio.to_thread(submissions.status, run)
        if found != before:
            yield ServerSentEvent(json.dumps(asdict(found)), event="status")
        if found.state not in LIVE:
            return
        before = found
        await asyncio.sleep(EVERY_S)
