"""When runs are due. Takes cron expressions with time zones, gives times at which they fired; touches nothing."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic.dataclasses import dataclass

from workers.errors import UsageError

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
    """A run that is submitted again and again.

    Attributes:
        name: its name; runs are named by it and the time.
        cron: five fields, minute to day of the week.
        tz: IANA name of the time zone that they are of.
        job: kind of job.
        spec: its spec without run id.
        overlap: what happens when it fires while its last run is live.
        keep: runs that are kept when old ones are removed; None for all.
        paused: whether it does not fire.
        since: fires at and before this are not its business; UTC, ISO 8601.
        made: when it was added, UTC, ISO 8601; tells it from one of this name that was removed.
    """

    name: str
    cron: str
    tz: str
    job: str
    spec: Mapping[str, Any]
    overlap: Overlap = Overlap.REFUSE
    keep: int | None = None
    paused: bool = False
    since: str = ""
    made: str = ""

    def last_fire(self, now: datetime) -> datetime | None:
        """When it fired last, at or before a time, UTC; None if it never has.

        Across a change of the clock cronsim does as Debian's cron: a time that is skipped fires right after the change, one
        that comes twice fires the first time. Expressions whose minute or hour begins with a star (`*/10 2 * * *`) follow the
        clock: in an hour that is skipped they do not fire, in one that comes twice they fire both times.
        """
        local, since = now.astimezone(ZoneInfo(self.tz)), datetime.fromisoformat(self.since).astimezone(UTC)
        for days in LOOK_BACK_DAYS:
            # From a noon on, far from all changes of the clock: cronsim backwards, or from within a doubled hour, errs.
            noon = (local - timedelta(days=days)).replace(hour=12, minute=0, second=0, microsecond=0)
            fires = takewhile(lambda fire: fire <= now, (fire.astimezone(UTC) for fire in CronSim(self.cron, noon)))
            last = max(fires, default=None)
            if last is not None:
                return last if last > since else None
            if noon <= since:
                break
        return None


@dataclass(frozen=True)
class Pause:
    """Whether a schedule is paused.

    Attributes:
        paused: whether it does not fire.
        since: fires at and before this do not count; UTC, ISO 8601.
        made: when the schedule that this is about was added; one of the same name may have been added since.
    """

    paused: bool
    since: str
    made: str


@dataclass(frozen=True)
class Fire:
    """A time at which a schedule fired.

    Attributes:
        at: when, UTC, ISO 8601.
        run: the run that it names.
        refused: why that was not submitted and will not be, if so.
        waits: the live run that it waits for, or empty.
        error: why it could not be submitted at this look, or empty; the next look tries again.
        behind: the live run for whose sake it was refused, or empty.
        submitted: whether a cluster took its run.
        removed: whether its run was removed since, or is being removed.
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
        """Whether nothing is left to be done about it, whatever becomes of its run."""
        return self.submitted or self.removed or bool(self.refused)

    @property
    def told(self) -> str:
        """In one line."""
        ends = {"refused: ": self.refused, "waits for ": self.waits, "is not submitted yet: ": self.error}
        return " ".join([self.at, self.run, *(how + why for how, why in ends.items() if why)]).strip()


def check(schedule: Schedule) -> None:
    """Let only a schedule be kept that can fire.

    Raises:
        UsageError: its name, time zone or cron expression is none.
    """
    if not NAME.match(schedule.name):
        raise UsageError(f"{schedule.name!r} is no name of a schedule: a small letter, then up to 59 of a-z 0-9 -")
    try:
        zone = ZoneInfo(schedule.tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"there is no time zone {schedule.tz!r}; write one such as Europe/Berlin or UTC") from None
    try:
        CronSim(schedule.cron, datetime.now(zone))
        fields = len(schedule.cron.split())
        if fields != FIELDS:  # with a sixth cronsim fires by the second
            raise CronSimError(f"it has {fields} fields")
    except CronSimError as error:
        raise UsageError(
            f"{schedule.cron!r} is no cron expression ({error}); write five fields such as '0 2 * * *'"
        ) from None
