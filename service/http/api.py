"""The control plane over HTTP. Takes specs, run ids and schedules as JSON, asks `submissions` and `schedules`, answers."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Header, Path
from fastapi.responses import PlainTextResponse, Response

from service.atlas import links
from service.control import rejects
from service.control.schedules import Schedules
from service.control.statuses import Status
from service.control.submissions import Submissions
from service.control.timetable import Fire, Schedule
from service.control.watching import Watched
from service.http import events
from service.http.bodies import (
    FireTold,
    RetriedTold,
    Retry,
    ScheduleAsked,
    ScheduleTold,
    StatusTold,
    Submission,
    VerdictTold,
)
from service.http.events import RunId, missing
from service.http.places import Allowed
from service.http.problems import PROBLEMS
from service.http.routes import route_in
from service.http.scopes import ADMIN, READ, SUBMIT
from service.pools import Pool
from service.query import catalog
from workers.errors import RefusedError, RunError
from workers.store import paths
from workers.store.root import Root

CONTROL_THREADS = 8
CONTROL_S = 120.0  # that a submission may wait for its cluster
Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,59}$", description="name of a schedule")]


def add_to(app: FastAPI, submissions: Submissions, watched: Watched, schedules: Schedules, allowed: Allowed) -> None:
    """Add the control plane to an application. Routes that read ask `watched`, routes that act ask `submissions`."""
    pool = Pool("the control plane", CONTROL_THREADS, CONTROL_S)
    router = APIRouter(prefix=links.API, responses=PROBLEMS, route_class=route_in(pool))
    _add_submitting(router, submissions, watched, allowed)
    _add_watching(router, submissions, watched)
    events.add_to(router, watched)
    _add_acting(router, submissions, watched)
    _add_schedules(router, schedules, allowed, submissions)
    _add_firing(router, schedules, watched)
    app.router.routes.extend(router.routes)  # flat, so that the gate finds each with the scope that it declares


def _add_submitting(router: APIRouter, submissions: Submissions, watched: Watched, allowed: Allowed) -> None:
    @router.post("/runs", status_code=202, response_model=StatusTold, operation_id="submit", dependencies=[SUBMIT])
    def submit(
        asked: Submission,
        idempotency_key: Annotated[str | None, Header(max_length=200, description="the same key: the same run")] = None,
    ) -> Status:
        """Submit a run, or resume one. Answers at once; the run's own address reports its progress."""
        spec = submissions.checked(asked.job, _ours(submissions, asked.spec))
        allowed.check_spec(spec)
        if idempotency_key is not None:
            spec, is_new = _same_again(submissions.root, idempotency_key, asked, spec)
            before = None if is_new else submissions.known(str(spec["run"]))
            if before is not None:
                return before  # however it goes, or went: the same request does not begin it anew
        with watched.changing():
            return submissions.submit(asked.job, spec)


def _add_watching(router: APIRouter, submissions: Submissions, watched: Watched) -> None:
    @router.get("/runs", response_model=list[StatusTold], operation_id="runs", dependencies=[READ])
    def runs() -> Sequence[Status]:
        """All runs, the last submitted first."""
        return watched.statuses()

    @router.get("/runs/{run}", response_model=StatusTold, operation_id="status", dependencies=[READ])
    def status(run: RunId) -> Status:
        """The state of a run."""
        with missing():
            return watched.status(run)

    @router.get("/runs/{run}/logs", response_class=PlainTextResponse, operation_id="logs", dependencies=[READ])
    def logs(run: RunId) -> Response:
        """The output of a run's last attempt."""
        with missing():
            return PlainTextResponse(submissions.logs(run))


def _add_acting(router: APIRouter, submissions: Submissions, watched: Watched) -> None:
    @router.post("/runs/{run}/cancel", response_model=StatusTold, operation_id="cancel", dependencies=[SUBMIT])
    def cancel(run: RunId) -> Status:
        """Cancel a run. What it has finished stays, and submitting it again resumes it."""
        with missing():
            submissions.status(run)
        with watched.changing():
            return submissions.cancel(run)

    @router.post(
        "/runs/{run}/retry-rejects", response_model=RetriedTold, operation_id="retry_rejects", dependencies=[SUBMIT]
    )
    def retry_rejects(run: RunId, asked: Retry | None = None) -> RetriedTold:
        """Delete stored verdicts on rejects of a published run, so that the next scan reads these files again."""
        with missing():
            submissions.status(run)
        published = catalog.find(submissions.root, run, None)
        deleted = rejects.retry_of(published, asked.uris if asked else ())
        return RetriedTold(
            run=run, files=[VerdictTold(uri=each.uri, reason=each.reason, detail=each.detail) for each in deleted]
        )


def _add_schedules(router: APIRouter, schedules: Schedules, allowed: Allowed, submissions: Submissions) -> None:
    @router.post(
        "/schedules", status_code=201, response_model=ScheduleTold, operation_id="add_schedule", dependencies=[ADMIN]
    )
    def add(asked: ScheduleAsked) -> Schedule:
        """Add a schedule; it fires from now on."""
        allowed.check_spec(_checked(submissions, asked))
        return schedules.add(Schedule(**asked.model_dump()))

    @router.get("/schedules", response_model=list[ScheduleTold], operation_id="schedules", dependencies=[READ])
    def all_() -> Sequence[Schedule]:
        """Every schedule, by name."""
        return schedules.all()

    @router.get("/schedules/{name}/fires", response_model=list[FireTold], operation_id="fires", dependencies=[READ])
    def fires(name: Name) -> Sequence[Fire]:
        """The times at which a schedule fired."""
        return schedules.fires(name)

    @router.delete("/schedules/{name}", status_code=204, operation_id="remove_schedule", dependencies=[ADMIN])
    def remove(name: Name) -> None:
        """Remove a schedule; its runs stay."""
        schedules.remove(name)


def _add_firing(router: APIRouter, schedules: Schedules, watched: Watched) -> None:
    @router.post(
        "/schedules/{name}/fires",
        status_code=202,
        response_model=FireTold,
        operation_id="run_now",
        dependencies=[ADMIN],
    )
    def run_now(name: Name) -> Fire:
        """Fire a schedule once, now. A refused fire, such as one while its last run is live, is a conflict."""
        with watched.changing():
            return schedules.run_now(name)

    @router.post(
        "/schedules/{name}/{what}", response_model=ScheduleTold, operation_id="pause_schedule", dependencies=[ADMIN]
    )
    def pause(name: Name, what: Literal["pause", "resume"]) -> Schedule:
        """Pause or resume a schedule."""
        return schedules.pause(name, paused=what == "pause")


def _ours(submissions: Submissions, spec: dict[str, Any]) -> dict[str, Any]:
    """A spec whose root is ours, whatever it says; another one is refused."""
    root = spec.get("root", submissions.root.url)
    if root != submissions.root.url:
        raise RefusedError(f"root {root!r} is refused: this service writes under its own; leave it out")
    return {**spec, "root": submissions.root.url}


def _checked(submissions: Submissions, asked: ScheduleAsked) -> dict[str, Any]:
    """The spec of a schedule's runs with all that it leaves out."""
    return submissions.checked(asked.job, _ours(submissions, asked.spec) | {"run": f"{asked.name}-0"})


def _same_again(root: Root, key: str, asked: Submission, spec: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The spec of the first submission with this key, with its run id, and whether this is the first.

    Raises:
        RunError: another submission was sent with it.
    """
    body = hashlib.sha256(json.dumps(asked.model_dump(), sort_keys=True).encode()).hexdigest()
    path = paths.idempotency_path(hashlib.sha256(key.encode()).hexdigest())
    is_new = root.create(path, json.dumps({"body": body, "spec": spec}).encode())
    first = json.loads(root.read(path))
    if first["body"] != body:
        raise RunError("this Idempotency-Key was sent with another submission; make a new one")
    return dict(first["spec"]), is_new
