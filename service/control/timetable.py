"""When runs are due. Takes cron expressions with time zones, gives times at which they fired; touches nothing."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic.dataclasses import dataclass

from workers.errors import UsageError
from workers.kinds import Kind
from workers.spec.plain import PlainSpec

LOOK_BACK_DAYS = (1, 32, 400, 1500)  # the rarest expression, February 29, fires every four years
FIELDS = 5
NAME = re.compile(r"[a-z][a-z0-9-]{0,59}\Z")


class Overlap(StrEnum):
    """What happens when a schedule fires while its last run is live."""

    REFUSE = "refuse"
    QUEUE = "queue"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Schedule:
    """A schedule to add, with the spec of the run that it submits.

    Attributes:
        name: name of the schedule; run ids consist of it and the time.
        cron: five fields, minute to day of the week.
        tz: IANA name of the time zone of the cron expression.
        job: kind of job.
        spec: the run's spec without run id; each fire parses it, so that a spec of another version refuses its fires only.
        overlap: what happens when the schedule fires while its last run is live.
        keep: number of runs to keep when old ones are removed; None for all.
        paused: whether the schedule is paused and does not fire.
        since: times up to this one do not fire; UTC, ISO 8601.
        made: when the schedule was added, UTC, ISO 8601; distinguishes it from a removed one of the same name.
    """

    name: str
    cron: str
    tz: str
    job: Kind
    spec: PlainSpec
    overlap: Overlap = Overlap.REFUSE
    keep: int | None = None
    paused: bool = False
    since: str = ""
    made: str = ""

    def last_fire(self, now: datetime) -> datetime | None:
        """The last time, at or before `now`, at which the schedule is due, UTC; None if there is none since it was added.

        When the clock changes, cronsim behaves like Debian's cron: a skipped time fires right after the change, a time that
        occurs twice fires the first time. Expressions whose minute or hour begins with a star (`*/10 2 * * *`) follow the
        clock: they do not fire in a skipped hour, and fire both times in an hour that occurs twice.
        """
        local, since = now.astimezone(ZoneInfo(self.tz)), datetime.fromisoformat(self.since).astimezone(UTC)
        for days in LOOK_BACK_DAYS:
            # Start at noon, far from any change of the clock: cronsim errs backwards, and from within a repeated hour.
            noon = (local - timedelta(days=days)).replace(hour=12, minute=0, second=0, microsecond=0)
            fires = takewhile(lambda fire: fire <= now, (fire.astimezone(UTC) for fire in CronSim(self.cron, noon)))
            last = max(fires, default=None)
            if last is not None:
                return last if last > since else None
            if noon <= since:
                break
        return None

    def next_fire(self, now: datetime) -> datetime | None:
        """The first time after `now` at which the schedule is due, UTC; None if it is paused."""
        return None if self.paused else next(CronSim(self.cron, now.astimezone(ZoneInfo(self.tz)))).astimezone(UTC)


@dataclass(frozen=True)
class Pause:
    """Whether a schedule is paused.

    Attributes:
        paused: whether the schedule does not fire.
        since: times up to this one do not fire; UTC, ISO 8601.
        made: when the paused schedule was added; one of the same name may have been added since.
    """

    paused: bool
    since: str
    made: str


@dataclass(frozen=True)
class Fire:
    """A time at which a schedule fired.

    Attributes:
        at: when, UTC, ISO 8601.
        run: id of the fire's run.
        refused: why the run is never submitted, or empty.
        waits: the live run that the fire waits for, or empty.
        error: why the run could not be submitted at this tick, or empty; the next tick tries again.
        behind: the live run because of which the fire was refused, or empty.
        submitted: whether a cluster took the run.
        removed: whether the run was removed since, or is being removed.
    """

    at: str
    run: str
    refused: str = ""
    waits: str = ""
    error: str = ""
    behind: str = ""
    submitted: bool = False
    removed: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether no scheduler has anything left to do for this fire."""
        return self.submitted or self.removed or bool(self.refused)

    @property
    def problem(self) -> str:
        """Why the run was not submitted; empty if it was."""
        outcomes = {"refused: ": self.refused, "waits for ": self.waits, "is not submitted yet: ": self.error}
        return " ".join(outcome + why for outcome, why in outcomes.items() if why)

    @property
    def summary(self) -> str:
        """The firing in one line."""
        return " ".join(filter(None, [self.at, self.run, self.problem or "is submitted"]))


def check(schedule: Schedule) -> None:
    """Check that a schedule can fire.

    Raises:
        UsageError: its name, time zone or cron expression is not valid.
    """
    if not NAME.match(schedule.name):
        raise UsageError(
            f"{schedule.name!r} is not a valid schedule name: give a lower-case letter, then up to 59 of a-z0-9-"
        )
    try:
        zone = ZoneInfo(schedule.tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"there is no time zone {schedule.tz!r}; give an IANA name such as Europe/Berlin or UTC"
        ) from None
    try:
        CronSim(schedule.cron, datetime.now(zone))
        fields = len(schedule.cron.split())
        if fields != FIELDS:  # cronsim takes a sixth field as seconds
            raise CronSimError(f"it has {fields} fields")
    except CronSimError as error:
        raise UsageError(
            f"{schedule.cron!r} is not a valid cron expression ({error}); give five fields such as '0 2 * * *'"
        ) from None
