"""What is sent to the control plane, and what it answers, as JSON. Takes nothing, gives models; `api` uses them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.control.statuses import RunState
from service.control.timetable import Overlap
from workers.kinds import Kind


class Body(BaseModel):
    """What is sent; keys that nobody knows are refused."""

    model_config = ConfigDict(extra="forbid")


class Submission(Body):
    """A run to be made. The spec is that of `deconvoy scan --spec` and its siblings, without `root`."""

    job: Kind = Field(Kind.SCAN, description="kind of job")
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
    """Files whose stored verdicts are to be deleted."""

    uris: list[str] = Field([], description="as the table rejects names them; all without")


class VerdictTold(BaseModel):
    """A file whose stored verdict was deleted: it had crashed or hung its decoder, vanished, or changed."""

    uri: str
    reason: str
    detail: str


class RetriedTold(BaseModel):
    """The files of a run that the next scan reads again."""

    run: str
    files: list[VerdictTold]


class ScheduleAsked(Body):
    """A run that is to be submitted again and again."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,59}$")
    cron: str = Field(description="five fields, minute to day of the week", max_length=200)
    tz: str = Field("UTC", description="IANA name of the time zone", max_length=100)
    job: Kind = Kind.SCAN
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
