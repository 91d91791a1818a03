"""The control plane over HTTP. Takes specs, run ids and schedules as JSON, asks `submissions` and `schedules`, answers."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Header, Path, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from service import catalog, housekeeping
from service.places import Allowed
from service.pools import Pool
from service.problems import PROBLEMS
from service.routes import route_in
from service.schedules import Schedules
from service.statuses import LIVE, RunState, Status
from service.submissions import Submissions
from service.timetable import Overlap, Schedule
from workers.errors import QueryError, RefusedError, RunError
from workers.store import paths
from workers.store.root import Root

PREFIX = "/api/v1"
EVERY_S = 1.0
CONTROL_THREADS = 8
CONTROL_S = 120.0  # that a submission may wait for its cluster
Job = Literal["scan", "occlude", "invert", "filters", "evolve", "invariance", "correspondence", "sanity"]
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
    state: RunState
    attempt: int
    job: str
    submitted: str
    error: str
    waits: str
    progress: ProgressTold | None


class Retry(Body):
    """Files that are to be tried again."""

    uris: list[str] = Field([], description="as the table rejects names them; all without")


class VerdictTold(BaseModel):
    """A file that crashed or hung its decoder, and will be tried again."""

    uri: str
    reason: str
    detail: str


class RetriedTold(BaseModel):
    """The files of a run that the next scan tries again."""

    run: str
    files: list[VerdictTold]


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
    made: str


class FireTold(BaseModel):
    """A time at which a schedule fired, the run that it names, and what became of it.

    It was refused, for a reason; or a cluster took it (`submitted`), and it may have been removed since (`removed`).
    """

    at: str
    run: str
    refused: str
    waits: str
    error: str
    submitted: bool
    removed: bool


def add_to(app: FastAPI, submissions: Submissions, schedules: Schedules, allowed: Allowed) -> None:
    """Add the control plane to an application."""
    pool = Pool("the control plane", CONTROL_THREADS, CONTROL_S)
    router = APIRouter(prefix=PREFIX, responses=PROBLEMS, route_class=route_in(pool))
    _add_submitting(router, submissions, allowed)
    _add_watching(router, submissions)
    _add_acting(router, submissions)
    _add_schedules(router, schedules, submissions, allowed)
    app.include_router(router)


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
            spec, is_new = _same_again(submissions.root, idempotency_key, asked, spec)
            before = None if is_new else submissions.known(str(spec["run"]))
            if before is not None:
                return before  # however it goes, or went: the same request does not begin it anew
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

    @router.get("/runs/{run}/logs", response_class=PlainTextResponse, operation_id="logs")
    def logs(run: RunId) -> Response:
        """What the last attempt at a run has printed."""
        _found(submissions, run)
        return PlainTextResponse(submissions.logs(run))

    seen = Header(max_length=200, description="the last event that was seen: a browser sends it when it comes back")
    ended: dict[int | str, dict[str, Any]] = {
        204: {"description": "the run has ended, and that was seen: do not come back"}
    }

    @router.get("/runs/{run}/events", operation_id="events", response_class=EventSourceResponse, responses=ended)
    async def events(run: RunId, request: Request, last_event_id: Annotated[str | None, seen] = None) -> Response:
        """How a run goes, as server-sent events of its status, until it ends."""
        found = await asyncio.to_thread(_found, submissions, run)
        if found.state not in LIVE and last_event_id == _mark(found):
            return Response(status_code=204)
        return EventSourceResponse(_told(submissions, run, request))


def _add_acting(router: APIRouter, submissions: Submissions) -> None:
    @router.post("/runs/{run}/cancel", response_model=StatusTold, operation_id="cancel")
    def cancel(run: RunId) -> Any:  # noqa: ANN401
        """Stop a run; what it has finished stays, and submitting it again goes on from there."""
        _found(submissions, run)
        return submissions.cancel(run)

    @router.post("/runs/{run}/retry-rejects", response_model=RetriedTold, operation_id="retry_rejects")
    def retry_rejects(run: RunId, asked: Retry | None = None) -> Any:  # noqa: ANN401
        """Let files that crashed or hung their decoder in a published run be tried again by the next scan of them."""
        _found(submissions, run)
        found = catalog.find(submissions.root, run, None)
        return {"run": run, "files": housekeeping.retry_of(found, asked.uris if asked else ())}


def _add_schedules(router: APIRouter, schedules: Schedules, submissions: Submissions, allowed: Allowed) -> None:
    @router.post("/schedules", status_code=201, response_model=ScheduleTold, operation_id="add_schedule")
    def add(asked: ScheduleAsked) -> Any:  # noqa: ANN401
        """Keep a schedule; it fires from now on."""
        allowed.check_spec(_checked(submissions, asked))
        return schedules.add(Schedule(**asked.model_dump()))

    @router.get("/schedules", response_model=list[ScheduleTold], operation_id="schedules")
    def all_() -> Any:  # noqa: ANN401
        """Every schedule, by name."""
        return schedules.all()

    @router.get("/schedules/{name}/fires", response_model=list[FireTold], operation_id="fires")
    def fires(name: Name) -> Any:  # noqa: ANN401
        """When a schedule fired."""
        return schedules.fires(name)

    @router.post("/schedules/{name}/fires", status_code=202, response_model=FireTold, operation_id="run_now")
    def run_now(name: Name) -> Any:  # noqa: ANN401
        """Fire a schedule once, now. What is refused, since its last run is live, say, is a conflict."""
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


def _checked(submissions: Submissions, asked: ScheduleAsked) -> dict[str, Any]:
    """The spec of a schedule's runs with all that it leaves out."""
    return submissions.checked(asked.job, _ours(submissions, asked.spec) | {"run": f"{asked.name}-0"})


def _found(submissions: Submissions, run: str) -> Any:  # noqa: ANN401 - a status
    """How a run is; QueryError, which is 404, if there is none."""
    try:
        return submissions.status(run)
    except RunError as error:
        raise QueryError(str(error)) from error


def _same_again(root: Root, key: str, asked: Submission, spec: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The spec that was made of what was sent with this key first, its run id too, and whether that was now.

    Raises:
        RunError: something else was sent with it.
    """
    body = hashlib.sha256(json.dumps(asked.model_dump(), sort_keys=True).encode()).hexdigest()
    path = paths.idempotency_path(hashlib.sha256(key.encode()).hexdigest())
    is_new = root.create(path, json.dumps({"body": body, "spec": spec}).encode())
    told = json.loads(root.read(path))
    if told["body"] != body:
        raise RunError("this Idempotency-Key was sent with another submission; make a new one")
    return dict(told["spec"]), is_new


def _mark(status: Status) -> str:
    """Names an event by what it says of the run's state."""
    return f"{status.attempt}.{status.state}"


async def _told(submissions: Submissions, run: str, request: Request) -> AsyncIterator[ServerSentEvent]:
    before = None
    while not await request.is_disconnected():
        found = await asyncio.to_thread(_found, submissions, run)
        if found != before:
            yield ServerSentEvent(json.dumps(asdict(found)), event="status", id=_mark(found))
        if found.state not in LIVE:
            return
        before = found
        await asyncio.sleep(EVERY_S)
