"""The control plane over HTTP. Takes specs, run ids and schedules as JSON, gives states; `service.control` does the work."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Header, Path, Query
from fastapi.responses import PlainTextResponse, Response

from service.atlas import links
from service.control import rejects
from service.control.schedules import Schedules
from service.control.statuses import Status
from service.control.submissions import Submissions, run_of
from service.control.timetable import Fire, Schedule
from service.control.watching import Watched
from service.http import events
from service.http.bodies import (
    DeletedVerdict,
    FireResponse,
    Retry,
    RetryResponse,
    ScheduleRequest,
    ScheduleResponse,
    StatusResponse,
    Submission,
)
from service.http.events import RunId, missing_run_as_404
from service.http.idempotency import first_spec
from service.http.places import Allowed
from service.http.problems import PROBLEMS
from service.http.routes import route_in
from service.http.scopes import ADMIN, READ, SUBMIT
from service.pools import CallPool
from service.query import catalog
from workers.errors import RefusedError
from workers.spec.parts import AnyRun

CONTROL_THREADS = 8
CONTROL_S = 120.0  # timeout of a request, which may wait for its cluster
Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,59}$", description="name of a schedule")]


def add_to(app: FastAPI, submissions: Submissions, watched: Watched, schedules: Schedules, allowed: Allowed) -> None:
    """Add the control plane to an application. Routes that read use `watched`, routes that act use `submissions`."""
    pool = CallPool("the control plane", CONTROL_THREADS, CONTROL_S)
    router = APIRouter(prefix=links.API, responses=PROBLEMS, route_class=route_in(pool))
    _add_submitting(router, submissions, watched, allowed)
    _add_watching(router, submissions, watched)
    events.add_to(router, watched)
    _add_acting(router, submissions, watched, allowed)
    _add_retrying(router, submissions)
    _add_schedules(router, schedules, allowed, submissions)
    _add_firing(router, schedules, watched)
    app.router.routes.extend(router.routes)  # a flat list: the gate reads the scope of each route


def _add_submitting(router: APIRouter, submissions: Submissions, watched: Watched, allowed: Allowed) -> None:
    @router.post("/runs", status_code=202, response_model=StatusResponse, operation_id="submit", dependencies=[SUBMIT])
    def submit(
        submission: Submission,
        idempotency_key: Annotated[
            str | None, Header(max_length=200, description="a repeated request with the same key submits no new run")
        ] = None,
    ) -> Status:
        """Submit or resume a run. Returns at once; the run's own address reports its progress."""
        spec = submissions.parse_spec(submission.job, _with_own_root(submissions, submission.spec))
        allowed.check_spec(spec)
        if idempotency_key is not None:
            spec, is_new = first_spec(submissions, idempotency_key, submission, spec)
            earlier = None if is_new else submissions.known(run_of(spec))
            if earlier is not None:
                return submissions.require_same(earlier, spec)  # in any state: a repeated request never starts it again
        with watched.changing():
            return submissions.start(spec)


def _add_watching(router: APIRouter, submissions: Submissions, watched: Watched) -> None:
    @router.get("/runs", response_model=list[StatusResponse], operation_id="runs", dependencies=[READ])
    def runs() -> Sequence[Status]:
        """All runs, the most recently submitted first."""
        return watched.statuses()

    @router.get("/runs/{run}", response_model=StatusResponse, operation_id="status", dependencies=[READ])
    def status(run: RunId) -> Status:
        """The state of a run."""
        with missing_run_as_404():
            return watched.status(run)

    @router.get("/runs/{run}/logs", response_class=PlainTextResponse, operation_id="logs", dependencies=[READ])
    def logs(
        run: RunId,
        attempt: Annotated[
            int | None, Query(ge=1, description="number of the attempt; by default, the last one")
        ] = None,
    ) -> Response:
        """The output of a run's last attempt, or of an earlier one."""
        with missing_run_as_404():
            return PlainTextResponse(submissions.logs(run, attempt))


def _add_acting(router: APIRouter, submissions: Submissions, watched: Watched, allowed: Allowed) -> None:
    @router.post(
        "/runs/{run}/resume",
        status_code=202,
        response_model=StatusResponse,
        operation_id="resume",
        dependencies=[SUBMIT],
    )
    def resume(run: RunId) -> Status:
        """Resume a run with the spec of its last attempt. A run that is live or published stays as it is."""
        with missing_run_as_404():
            submissions.status(run)
        spec = submissions.last_spec(run)
        allowed.check_spec(spec)
        with watched.changing():
            return submissions.start(spec)

    @router.post("/runs/{run}/cancel", response_model=StatusResponse, operation_id="cancel", dependencies=[SUBMIT])
    def cancel(run: RunId) -> Status:
        """Cancel a run. Its finished shards are kept, and submitting it again resumes it."""
        with missing_run_as_404():
            submissions.status(run)
        with watched.changing():
            return submissions.cancel(run)


def _add_retrying(router: APIRouter, submissions: Submissions) -> None:
    @router.post(
        "/runs/{run}/retry-rejects", response_model=RetryResponse, operation_id="retry_rejects", dependencies=[SUBMIT]
    )
    def retry_rejects(run: RunId, retry: Retry | None = None) -> RetryResponse:
        """Delete the stored verdicts on a published run's rejects, so that the next scan reads these files again."""
        with missing_run_as_404():
            submissions.status(run)
        published = catalog.find(submissions.root, run, None)
        deleted = rejects.retry_of(published, retry.uris if retry else ())
        files = [DeletedVerdict(uri=verdict.uri, reason=verdict.reason, detail=verdict.detail) for verdict in deleted]
        return RetryResponse(run=run, files=files)


def _add_schedules(router: APIRouter, schedules: Schedules, allowed: Allowed, submissions: Submissions) -> None:
    @router.post(
        "/schedules",
        status_code=201,
        response_model=ScheduleResponse,
        operation_id="add_schedule",
        dependencies=[ADMIN],
    )
    def add(schedule: ScheduleRequest) -> ScheduleResponse:
        """Add a schedule; it fires from now on."""
        allowed.check_spec(_parse_schedule_spec(submissions, schedule))
        return ScheduleResponse.of(schedules.add(Schedule(**schedule.model_dump())))

    @router.get("/schedules", response_model=list[ScheduleResponse], operation_id="schedules", dependencies=[READ])
    def all_() -> Sequence[ScheduleResponse]:
        """All schedules, by name."""
        return [ScheduleResponse.of(schedule) for schedule in schedules.all()]

    @router.get("/schedules/{name}/fires", response_model=list[FireResponse], operation_id="fires", dependencies=[READ])
    def fires(name: Name) -> Sequence[Fire]:
        """The times at which a schedule fired."""
        return schedules.fires(name)

    @router.delete("/schedules/{name}", status_code=204, operation_id="remove_schedule", dependencies=[ADMIN])
    def remove(name: Name) -> None:
        """Remove a schedule; its runs are kept."""
        schedules.remove(name)


def _add_firing(router: APIRouter, schedules: Schedules, watched: Watched) -> None:
    @router.post(
        "/schedules/{name}/fires",
        status_code=202,
        response_model=FireResponse,
        operation_id="run_now",
        dependencies=[ADMIN],
    )
    def run_now(name: Name) -> Fire:
        """Fire a schedule once, now. Returns 409 if the firing is refused, for instance because the last run is live."""
        with watched.changing():
            return schedules.run_now(name)

    @router.post(
        "/schedules/{name}/{what}", response_model=ScheduleResponse, operation_id="pause_schedule", dependencies=[ADMIN]
    )
    def pause(name: Name, what: Literal["pause", "resume"]) -> ScheduleResponse:
        """Pause or resume a schedule."""
        return ScheduleResponse.of(schedules.pause(name, paused=what == "pause"))


def _with_own_root(submissions: Submissions, spec: dict[str, Any]) -> dict[str, Any]:
    """A spec with the service's own root.

    Raises:
        RefusedError: the spec names another root.
    """
    root = spec.get("root", submissions.root.url)
    if root != submissions.root.url:
        raise RefusedError(f"root {root!r} is refused: this service writes under its own root; leave `root` out")
    return {**spec, "root": submissions.root.url}


def _parse_schedule_spec(submissions: Submissions, schedule: ScheduleRequest) -> AnyRun:
    """The spec of a schedule's runs."""
    spec = _with_own_root(submissions, schedule.spec) | {"run": f"{schedule.name}-0"}
    return submissions.parse_spec(schedule.job, spec)
