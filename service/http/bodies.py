"""JSON bodies of the control plane's requests and responses. Takes nothing, gives models; `api` uses them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.control.statuses import RunState
from service.control.timetable import Overlap, Schedule
from workers.kinds import Kind
from workers.spec.plain import PlainSpec


def _values(spec: object) -> object:
    """The values of a plain spec, so that the API describes them as an object."""
    return spec.values if isinstance(spec, PlainSpec) else spec


class Body(BaseModel):
    """The body of a request; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Submission(Body):
    """A run to submit. Its spec is that of `deconvoy scan --spec`, or of another kind's command, without `root`."""

    job: Kind = Field(Kind.SCAN, description="kind of job")
    spec: dict[str, Any] = Field(description="as in a spec file; `root` is the service's own")


class ProgressResponse(BaseModel):
    """Progress of an attempt; `shares` are shares of the actors' time, over finished shards."""

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


class StatusResponse(BaseModel):
    """A run and the state of its last attempt."""

    run: str
    state: RunState
    attempt: int
    job: str
    submitted: str
    error: str
    waits: str
    progress: ProgressResponse | None


class Retry(Body):
    """Files whose stored verdicts are deleted."""

    uris: list[str] = Field(
        [], description="as in the table `rejects`; if empty, all of the run's rejects with a stored verdict"
    )


class DeletedVerdict(BaseModel):
    """A file whose stored verdict was deleted: it had crashed or hung a decoder, disappeared, or changed."""

    uri: str
    reason: str
    detail: str


class RetryResponse(BaseModel):
    """The files of a run that the next scan reads again."""

    run: str
    files: list[DeletedVerdict]


class ScheduleRequest(Body):
    """A schedule to add, with the spec of the run that it submits."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,59}$")
    cron: str = Field(description="five fields, minute to day of the week", max_length=200)
    tz: str = Field("UTC", description="IANA name of the time zone", max_length=100)
    job: Kind = Kind.SCAN
    spec: dict[str, Any] = Field(description="as in a submission, without `run`")
    overlap: Overlap = Overlap.REFUSE
    keep: int | None = Field(None, ge=1, description="number of runs to keep when old ones are removed; by default all")


class ScheduleResponse(BaseModel):
    """A schedule."""

    name: str
    cron: str
    tz: str
    job: str
    spec: Annotated[dict[str, Any], BeforeValidator(_values)]
    overlap: Overlap
    keep: int | None
    paused: bool
    since: str
    made: str
    next: str | None = Field(description="the next time at which it fires, UTC; null if it is paused")

    @classmethod
    def of(cls, schedule: Schedule) -> Self:
        """The response about a schedule."""
        due = schedule.next_fire(datetime.now(UTC))
        return cls(**vars(schedule), next=due.isoformat(timespec="minutes") if due else None)


class FireResponse(BaseModel):
    """A time at which a schedule fired, its run, and the outcome.

    The firing was refused for a reason, or a cluster accepted its run (`submitted`), which may have been
    removed since (`removed`).
    """

    at: str
    run: str
    refused: str
    waits: str
    error: str
    submitted: bool
    removed: bool
