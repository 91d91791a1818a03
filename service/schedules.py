"""Schedules of runs. Takes cron expressions with time zones and a clock, submits each fire once; everything is under the root.

Any number of schedulers may look at one root. Who is first to create the file of a (schedule, fire time) fires it; that file
names the run, so that anybody can submit it again whose holder died. Submitting is idempotent, and so is looking twice.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime

from service.fires import Fires, run_of, stamp_of
from service.submissions import LIVE, Submissions
from service.timetable import Fire, Overlap, Schedule, check
from workers.errors import ClusterError, DamagedFile, DamagedRun, QueryError, RunError, UsageError, nearest
from workers.store import paths
from workers.store.attempts import NOT_TAKEN, Attempts
from workers.store.root import Root

# What keeps one schedule from firing and no other: what it asks for, its files, its runs' files, a file that is not ours to read.
HINDRANCES = (UsageError, DamagedFile, DamagedRun, OSError)


class Schedules:
    """The schedules of a root.

    Args:
        root: where they lie.
        submissions: what submits their runs.
    """

    def __init__(self, root: Root, submissions: Submissions) -> None:
        self._root = root
        self._submissions = submissions
        self._fires = Fires(root)

    def add(self, schedule: Schedule) -> Schedule:
        """Keep a schedule; it fires from now on.

        Raises:
            UsageError: its name, expression or time zone is none, or there is one of this name.
        """
        check(schedule)
        self._submissions.checked(schedule.job, {**schedule.spec, "run": f"{schedule.name}-0"})
        made = replace(schedule, since=self._now().isoformat(timespec="seconds"))
        if not self._root.create(paths.schedule_path(schedule.name), _encoded(made)):
            raise UsageError(f"there is a schedule {schedule.name!r}; remove it first, or give another name")
        return made

    def all(self) -> Sequence[Schedule]:
        """Every schedule, by name."""
        return [self.find(name) for name in self._names()]

    def find(self, name: str) -> Schedule:
        """A schedule by its name.

        Raises:
            QueryError: there is none.
            DamagedFile: its file cannot be understood.
        """
        self._check_known(name)
        try:
            return _decoded(self._root.read(paths.schedule_path(name)))
        except FileNotFoundError as error:
            raise QueryError(f"there is no schedule {name!r} any more") from error
        except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
            raise DamagedFile(f"schedule {name!r} cannot be understood: {error}; remove it and add it again") from error

    def pause(self, name: str, *, paused: bool) -> Schedule:
        """Let a schedule fire no more, or again; what it missed meanwhile is not made up for."""
        changed = replace(self.find(name), paused=paused, since=self._now().isoformat(timespec="seconds"))
        self._root.put(paths.schedule_path(name), _encoded(changed))
        return changed

    def remove(self, name: str) -> None:
        """Forget a schedule; its runs stay."""
        self._check_known(name)
        self._root.delete(paths.schedule_path(name))

    def fires(self, name: str) -> Sequence[Fire]:
        """When a schedule fired, the first time first."""
        found = [self._fires.read(name, stamp) for stamp in self._fires.stamps(name)]
        return [fire for fire in found if fire is not None]

    def last_fires(self) -> Mapping[str, Fire]:
        """The last fire of each schedule that has fired, by its name; of one that cannot be understood `tick` tells."""
        found = {}
        for name in self._names():
            with suppress(DamagedFile):
                for stamp in self._fires.stamps(name)[-1:]:
                    found[name] = self._fires.read(name, stamp)
        return {name: fire for name, fire in found.items() if fire is not None}

    def run_now(self, name: str) -> Fire:
        """Fire a schedule once, outside of its times. No look tries such a fire again: what does not pass now is refused.

        Raises:
            ClusterError: the cluster does not answer, or does not take it.
        """
        schedule, at = self.find(name), self._now().replace(microsecond=0)
        try:
            fire = self._fire(schedule, at)
        except ClusterError as error:
            self._refuse(schedule, Fire(_iso(at), run_of(name, at)), str(error))
            raise
        return self._refuse(schedule, fire, f"run {fire.waits} is live") if fire.waits else fire

    def tick(self) -> Sequence[Fire]:
        """Fire what is due: of each schedule the last time only, if nobody has. Gives those, and what keeps others from it.

        A schedule whose runs cannot be submitted now is tried again at the next look, and hinders no other.
        """
        fires = [self._look(name) for name in self._names()]
        return [fire for fire in fires if fire is not None]

    def _look(self, name: str) -> Fire | None:
        """Fire a schedule if it is due."""
        due = Fire("", "")
        try:
            schedule = self.find(name)
            at = None if schedule.paused else schedule.last_fire(self._now())
            if at is None:
                return None
            due = Fire(_iso(at), run_of(name, at))
            return None if self._is_settled(name, at) else self._fire(schedule, at)
        except QueryError:  # it was removed meanwhile
            return None
        except HINDRANCES as error:
            return replace(due, error=str(error))

    def _fire(self, schedule: Schedule, at: datetime) -> Fire:
        fire = Fire(_iso(at), run_of(schedule.name, at))
        self._fires.create(schedule.name, fire)
        try:
            return self._submit(schedule, fire)
        except ClusterError:
            raise
        except UsageError as error:
            return self._refuse(schedule, fire, str(error))

    def _submit(self, schedule: Schedule, fire: Fire) -> Fire:
        """Submit the run of a fire, if the schedule's last run lets it."""
        before = self._live_before(schedule, fire)
        if before and schedule.overlap is Overlap.REFUSE:
            return self._refuse(schedule, fire, f"run {before} is live")
        if before and schedule.overlap is Overlap.QUEUE:
            return replace(fire, waits=before)
        if before:
            with suppress(RunError):  # it has ended meanwhile
                self._submissions.cancel(before)
        self._submissions.submit(schedule.job, {**schedule.spec, "run": fire.run})
        return fire

    def _refuse(self, schedule: Schedule, fire: Fire, why: str) -> Fire:
        """Write down that a fire's run is not submitted."""
        return self._fires.put(schedule.name, replace(fire, refused=why, waits=""))

    def _is_settled(self, name: str, at: datetime) -> bool:
        """Whether a fire has been submitted or refused."""
        if self._is_taken(run_of(name, at)):
            return True
        fire = self._fires.read(name, stamp_of(at))
        return fire is not None and bool(fire.refused)

    def _is_taken(self, run: str) -> bool:
        """Whether a run is published, or some cluster took it."""
        attempts = Attempts(self._root, run)
        ends = [attempts.ended(number) for number in attempts.numbers()]
        taken = any(end is None or end.exit_code != NOT_TAKEN for end in ends)
        return taken or self._root.exists(paths.manifest_path(run))

    def _live_before(self, schedule: Schedule, fire: Fire) -> str | None:
        """The schedule's last run before a fire, if it is live."""
        runs = [each.run for each in self.fires(schedule.name) if each.at < fire.at and not each.refused]
        for run in reversed(runs):
            try:
                return run if self._submissions.status(run).state in LIVE else None
            except RunError:  # it was never submitted
                continue
        return None

    def _check_known(self, name: str) -> None:
        names = self._names()
        if name not in names:
            raise QueryError(f"there is no schedule {name!r}; {nearest(name, names)}")

    def _names(self) -> list[str]:
        return [name for name in self._root.folders(paths.SCHEDULES) if self._root.exists(paths.schedule_path(name))]

    def _now(self) -> datetime:
        return self._submissions.clock()


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _encoded(schedule: Schedule) -> bytes:
    return json.dumps(asdict(schedule), indent=1, sort_keys=True).encode()


def _decoded(told: bytes) -> Schedule:
    """A schedule as it was written down, if it can fire."""
    values = json.loads(told)
    schedule = Schedule(**{**values, "overlap": Overlap(values["overlap"]), "spec": {**values["spec"]}})
    check(schedule)
    datetime.fromisoformat(schedule.since)
    return schedule
