"""Schedules of runs. Takes cron expressions with time zones and a clock, submits each fire once; all state is under the root.

Any number of schedulers may share one root. The one that creates the file of a (schedule, fire time) decides whether its run is
submitted. The file names the run, so that another scheduler can submit it if the first one dies. A scheduler submits a run by
taking the number of an attempt that it has seen to be free; one that is late or slow finds the number taken and starts nothing.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from service.control.fires import Fires, run_of
from service.control.statuses import LIVE, RunState
from service.control.submissions import Submissions
from service.control.timetable import NAME, Fire, Overlap, Pause, Schedule, check
from workers.errors import ClusterError, DamagedFile, DamagedRun, QueryError, RunError, UsageError, nearest
from workers.host.exit_codes import NOT_TAKEN
from workers.spec.parts import AnyRun
from workers.spec.plain import PlainSpec
from workers.store import paths
from workers.store.attempts import Attempts
from workers.store.json_format import JsonFormat
from workers.store.root import Root

# Errors that stop one schedule and no other: its spec, its files, its runs' files, a file without read permission.
ERRORS_OF_ONE = (UsageError, DamagedFile, DamagedRun, OSError)
SCHEDULE, _PAUSE = JsonFormat(Schedule), JsonFormat(Pause, sort_keys=False)


class Schedules:
    """The schedules of a root.

    Args:
        root: the root.
        submissions: submits the runs.
    """

    def __init__(self, root: Root, submissions: Submissions) -> None:
        self._root = root
        self._submissions = submissions
        self._fires = Fires(root)

    def add(self, schedule: Schedule) -> Schedule:
        """Add a schedule; it fires from now on.

        Raises:
            UsageError: its name, expression or time zone is not valid, or a schedule of this name exists.
        """
        check(schedule)
        self._parse_spec(schedule, f"{schedule.name}-0")
        now = self._now()
        spec = PlainSpec({key: value for key, value in schedule.spec.values.items() if key != "run"})  # fires name runs
        made = replace(schedule, spec=spec, made=now.isoformat(), since=_iso(now))
        if not self._root.create(paths.schedule_path(schedule.name), SCHEDULE.encode(made)):
            raise UsageError(f"schedule {schedule.name!r} already exists; remove it first, or choose another name")
        return made

    def _parse_spec(self, schedule: Schedule, run: str) -> AnyRun:
        """The spec of a schedule's run.

        Raises:
            SpecError: with every mistake in it.
        """
        return self._submissions.parse_spec(schedule.job, {**schedule.spec.values, "run": run})

    def all(self) -> Sequence[Schedule]:
        """All schedules whose files can be read, by name."""
        return self.readable()[0]

    def readable(self) -> tuple[Sequence[Schedule], Mapping[str, str]]:
        """The schedules whose files can be read, by name, and what is wrong with the others."""
        schedules, damaged = [], {}
        for name in self._names():
            try:
                schedules.append(self.find(name))
            except DamagedFile as error:
                damaged[name] = str(error)
        return schedules, damaged

    def find(self, name: str) -> Schedule:
        """A schedule by its name.

        Raises:
            QueryError: there is no such schedule.
            DamagedFile: its file cannot be parsed.
        """
        self._check_known(name)
        try:
            schedule = replace(SCHEDULE.decode(self._root.read(paths.schedule_path(name))), name=name)
            return _check_stored(self._with_pause(schedule))
        except FileNotFoundError as error:
            raise QueryError(f"schedule {name!r} no longer exists") from error
        except (ValueError, UsageError) as error:
            raise DamagedFile(f"schedule {name!r} is not valid: {error}; remove it and add it again") from error

    def pause(self, name: str, *, paused: bool) -> Schedule:
        """Pause or resume a schedule; times that it missed in between do not fire."""
        changed = replace(self.find(name), paused=paused, since=_iso(self._now()))
        pause = Pause(changed.paused, changed.since, changed.made)
        # In a file of its own: writing the schedule's file would bring back one that is removed at the same time.
        self._root.put(paths.pause_path(name), _PAUSE.encode(pause))
        return changed

    def remove(self, name: str) -> None:
        """Remove a schedule. Its runs are kept; they do not belong to a later schedule of the same name."""
        self._check_known(name)
        self._root.delete(paths.schedule_path(name))
        self._root.delete(paths.pause_path(name))

    def fires(self, name: str) -> Sequence[Fire]:
        """The fires of a schedule, the oldest first."""
        return [*self._fires.backwards(self.find(name))][::-1]

    def expected_fires(self) -> Mapping[str, Fire]:
        """The last fire of each schedule that is not paused, by name."""
        paused = {schedule.name for schedule in self.all() if schedule.paused}
        return {name: fire for name, fire in self.last_fires().items() if name not in paused}

    def last_fires(self) -> Mapping[str, Fire]:
        """The last fire of each schedule that has fired, by name. Damaged ones are left out; `tick` reports them."""
        last = {}
        for schedule in self.all():
            with suppress(DamagedFile):
                last[schedule.name] = next(self._fires.backwards(schedule), None)
        return {name: fire for name, fire in last.items() if fire is not None}

    def state_of(self, fire: Fire) -> RunState | None:
        """The state of a firing's run; None if it was not submitted, or has been removed."""
        status = self._submissions.known(fire.run)
        return status.state if status else None

    def runs(self, schedule: Schedule) -> Sequence[str]:
        """The run ids of a schedule's fires, the oldest first, whatever their outcomes."""
        return self._fires.runs(schedule)

    def needed(self, schedule: Schedule, last: int) -> Sequence[str]:
        """The run ids of the fires to keep: the `last` ones, and all since the time that is due."""
        runs, due = self.runs(schedule), schedule.last_fire(self._now())
        return [*runs[-last:], *(run for run in runs if due is not None and run >= run_of(schedule.name, due))]

    def mark_removed(self, run: str) -> None:
        """Record in a run's fire, if it has one, that the run is being removed: so it is not submitted again."""
        fire = self._fires.of(run)
        if fire is not None:
            self._fires.update(replace(fire, removed=True))

    def is_removed(self, run: str) -> bool:
        """Whether a run's fire records that the run was, or is being, removed."""
        fire = self._fires.of(run)
        return fire is not None and fire.removed

    def run_now(self, name: str) -> Fire:
        """Fire a schedule once, outside of its times. If the run cannot be submitted now, the fire is refused for good.

        Raises:
            RunError: the fire is refused; the message gives the reason.
            ClusterError: the cluster does not answer, or does not take the run.
        """
        schedule, at = self.find(name), self._now().replace(microsecond=0)
        try:
            fire = self._fire(schedule, at)
        except ClusterError as error:
            self._refuse(Fire(_iso(at), run_of(name, at)), str(error))
            raise
        if fire.waits:
            fire = self._refuse(fire, f"run {fire.waits} is live")
        if fire.refused:
            raise RunError(f"run {fire.run} was not submitted: {fire.refused}")
        return fire

    def tick(self) -> Sequence[Fire]:
        """Fire each schedule that is due, unless it has been fired. Of several missed times, only the last fires.

        Gives the fires, with errors for schedules that could not fire. The next tick tries these again.
        """
        fires = [self._fire_if_due(name) for name in self._names()]
        return [fire for fire in fires if fire is not None]

    def _fire_if_due(self, name: str) -> Fire | None:
        """Fire a schedule if it is due."""
        due = Fire("", "")
        try:
            schedule = self.find(name)
            at = None if schedule.paused else schedule.last_fire(self._now())
            if at is None:
                return None
            due = Fire(_iso(at), run_of(name, at))
            return None if self._is_settled(due.run) else self._fire(schedule, at)
        except QueryError:  # the schedule has been removed since
            return None
        except ERRORS_OF_ONE as error:
            return replace(due, error=str(error))

    def _fire(self, schedule: Schedule, at: datetime) -> Fire:
        """Decide about a fire, unless that has been done, and submit its run unless it was refused."""
        fire = self._fires.of(run_of(schedule.name, at))
        if fire is None:
            fire = self._decide(schedule, Fire(_iso(at), run_of(schedule.name, at)))
            if fire.waits:
                return fire
            fire = self._fires.record(fire)
        return fire if fire.is_settled else self._submit(schedule, fire)

    def _decide(self, schedule: Schedule, fire: Fire) -> Fire:
        """The fire as refused or as waiting; otherwise as it is, ready to submit, after cancelling the live run if need be."""
        try:
            self._parse_spec(schedule, fire.run)
        except UsageError as error:
            return replace(fire, refused=str(error))
        live = self._live_beside(schedule, fire)
        if live is None:
            self._submissions.check_cluster(fire.run)  # if it does not answer, a live run looks lost
            return fire
        if schedule.overlap is Overlap.QUEUE:
            return replace(fire, waits=live)
        if schedule.overlap is Overlap.REFUSE or live > fire.run:  # a later fire's run is not cancelled
            return replace(fire, refused=f"run {live} is live", behind=live)
        with suppress(RunError):  # it has ended since
            self._submissions.cancel(live)
        return fire

    def _submit(self, schedule: Schedule, fire: Fire) -> Fire:
        """Submit the run of a fire, unless that has been done."""
        number = self._next_attempt(fire.run)
        if number is None or not self._submissions.begin(number, self._parse_spec(schedule, fire.run)):
            return fire
        return self._fires.update(replace(fire, submitted=True))

    def _refuse(self, fire: Fire, why: str) -> Fire:
        """Record that a fire's run is refused, unless it has been submitted."""
        refused = replace(fire, refused=why, waits="", behind=fire.waits)
        recorded = self._fires.record(refused)
        if recorded.is_settled or self._next_attempt(fire.run) is None:
            return recorded
        return self._fires.update(refused)

    def _is_settled(self, run: str) -> bool:
        """Whether a fire's run has been submitted or refused, by a scheduler or anyone else, or published."""
        fire = self._fires.of(run)
        return (fire is not None and fire.is_settled) or self._next_attempt(run) is None

    def _next_attempt(self, run: str) -> int | None:
        """Number of the next attempt at a run; None if the run is published, or a cluster has taken an attempt."""
        attempts = Attempts(self._root, run)
        numbers = attempts.numbers()
        ends = [attempts.ended(number) for number in numbers]
        taken = any(end is None or end.exit_code != NOT_TAKEN for end in ends)
        return None if taken or self._root.exists(paths.manifest_path(run)) else max(numbers, default=0) + 1

    def _live_beside(self, schedule: Schedule, fire: Fire) -> str | None:
        """The schedule's last run, other than the fire's own, if it is live.

        Fires are read backwards, as far as one that was not refused, or that names the live run because of which it was refused:
        no earlier run was live then.
        """
        for earlier in self._fires.backwards(schedule):
            run = earlier.behind if earlier.refused else earlier.run
            if run and run != fire.run:
                with suppress(RunError):  # it was never submitted, or has been removed
                    return run if self._submissions.status(run).state in LIVE else None
                return None
        return None

    def _with_pause(self, schedule: Schedule) -> Schedule:
        """The schedule with its latest pause or resumption."""
        try:
            pause = _PAUSE.decode(self._root.read(paths.pause_path(schedule.name)))
        except FileNotFoundError:
            return schedule
        return replace(schedule, paused=pause.paused, since=pause.since) if pause.made == schedule.made else schedule

    def _check_known(self, name: str) -> None:
        if not (NAME.match(name) and self._root.exists(paths.schedule_path(name))):
            raise QueryError(f"there is no schedule {name!r}; {nearest(name, self._names())}")

    def _names(self) -> list[str]:
        return [name for name in self._root.folders(paths.SCHEDULES) if self._root.exists(paths.schedule_path(name))]

    def _now(self) -> datetime:
        return self._submissions.clock()


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _check_stored(schedule: Schedule) -> Schedule:
    """Check a schedule that was read from its file.

    Raises:
        UsageError, ValueError: the schedule is not valid.
    """
    check(schedule)
    for time in (schedule.since, schedule.made or schedule.since):
        datetime.fromisoformat(time)
    return schedule
