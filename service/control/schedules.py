"""Schedules of runs. Takes cron expressions with time zones and a clock, submits each fire once; everything is under the root.

Any number of schedulers may look at one root. Who is first to create the file of a (schedule, fire time) decides whether its run
is submitted; that file names the run, so that anybody can submit it whose holder died. It is submitted by taking the number of an
attempt that the submitter has seen to be free: who comes late, or is slow, begins no other.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from service.control.fires import Fires, run_of
from service.control.statuses import LIVE
from service.control.submissions import Submissions
from service.control.timetable import NAME, Fire, Overlap, Pause, Schedule, check
from workers.errors import ClusterError, DamagedFile, DamagedRun, QueryError, RunError, UsageError, nearest
from workers.host.exit_codes import NOT_TAKEN
from workers.store import paths
from workers.store.attempts import Attempts
from workers.store.json_format import JsonFormat
from workers.store.root import Root

# What keeps one schedule from firing and no other: what it asks for, its files, its runs' files, a file that is not ours to read.
HINDRANCES = (UsageError, DamagedFile, DamagedRun, OSError)
_SCHEDULE, _PAUSE = JsonFormat(Schedule), JsonFormat(Pause, sort_keys=False)


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
        now = self._now()
        spec = {key: value for key, value in schedule.spec.items() if key != "run"}  # runs are named by name and time
        made = replace(schedule, spec=spec, made=now.isoformat(), since=_iso(now))
        if not self._root.create(paths.schedule_path(schedule.name), _SCHEDULE.encode(made)):
            raise UsageError(f"there is a schedule {schedule.name!r}; remove it first, or give another name")
        return made

    def all(self) -> Sequence[Schedule]:
        """Every schedule that can be understood, by name."""
        return self.readable()[0]

    def readable(self) -> tuple[Sequence[Schedule], Mapping[str, str]]:
        """The schedules that can be understood, by name, and what is wrong with the others."""
        found, wrong = [], {}
        for name in self._names():
            try:
                found.append(self.find(name))
            except DamagedFile as error:
                wrong[name] = str(error)
        return found, wrong

    def find(self, name: str) -> Schedule:
        """A schedule by its name.

        Raises:
            QueryError: there is none.
            DamagedFile: its file cannot be understood.
        """
        self._check_known(name)
        try:
            schedule = replace(_SCHEDULE.decode(self._root.read(paths.schedule_path(name))), name=name)
            return _valid(self._with_pause(schedule))
        except FileNotFoundError as error:
            raise QueryError(f"there is no schedule {name!r} any more") from error
        except (ValueError, UsageError) as error:
            raise DamagedFile(f"schedule {name!r} cannot be understood: {error}; remove it and add it again") from error

    def pause(self, name: str, *, paused: bool) -> Schedule:
        """Let a schedule fire no more, or again; what it missed meanwhile is not made up for."""
        changed = replace(self.find(name), paused=paused, since=_iso(self._now()))
        pause = Pause(changed.paused, changed.since, changed.made)
        # Not into the schedule's own file: one that is removed meanwhile would be there again.
        self._root.put(paths.pause_path(name), _PAUSE.encode(pause))
        return changed

    def remove(self, name: str) -> None:
        """Forget a schedule and its fires; its runs stay, and are not those of another that gets its name."""
        self._check_known(name)
        self._root.delete(paths.schedule_path(name))
        self._root.delete(paths.pause_path(name))

    def fires(self, name: str) -> Sequence[Fire]:
        """When a schedule fired, the first time first."""
        return [*self._fires.backwards(self.find(name))][::-1]

    def expected_fires(self) -> Mapping[str, Fire]:
        """The last fires of schedules of which more are expected: a paused one is silent on purpose."""
        paused = {each.name for each in self.all() if each.paused}
        return {name: fire for name, fire in self.last_fires().items() if name not in paused}

    def last_fires(self) -> Mapping[str, Fire]:
        """The last fire of each schedule that has fired, by its name; of one that cannot be understood `tick` tells."""
        found = {}
        for schedule in self.all():
            with suppress(DamagedFile):
                found[schedule.name] = next(self._fires.backwards(schedule), None)
        return {name: fire for name, fire in found.items() if fire is not None}

    def runs(self, schedule: Schedule) -> Sequence[str]:
        """The runs that a schedule's fires name, the first one first, whatever has become of them."""
        return self._fires.runs(schedule)

    def needed(self, schedule: Schedule, last: int) -> Sequence[str]:
        """The runs of those fires that are asked for: so many last ones, and all from the one on that is due."""
        runs, due = self.runs(schedule), schedule.last_fire(self._now())
        return [*runs[-last:], *(run for run in runs if due is not None and run >= run_of(schedule.name, due))]

    def mark_removed(self, run: str) -> None:
        """Write down that a run is being removed, if a schedule has fired it: it is not fired again."""
        fire = self._fires.of(run)
        if fire is not None:
            self._fires.put(replace(fire, removed=True))

    def is_removed(self, run: str) -> bool:
        """Whether that was written down."""
        fire = self._fires.of(run)
        return fire is not None and fire.removed

    def run_now(self, name: str) -> Fire:
        """Fire a schedule once, outside of its times. No look tries such a fire again: what does not pass now is refused.

        Raises:
            RunError: it is refused, and why.
            ClusterError: the cluster does not answer, or does not take it.
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
            return None if self._is_settled(due.run) else self._fire(schedule, at)
        except QueryError:  # it was removed meanwhile
            return None
        except HINDRANCES as error:
            return replace(due, error=str(error))

    def _fire(self, schedule: Schedule, at: datetime) -> Fire:
        """Decide about a fire, unless somebody has, and submit its run if that was decided."""
        fire = self._fires.of(run_of(schedule.name, at))
        if fire is None:
            fire = self._decided(schedule, Fire(_iso(at), run_of(schedule.name, at)))
            if fire.waits:
                return fire
            fire = self._fires.first(fire)
        return fire if fire.is_settled else self._submit(schedule, fire)

    def _decided(self, schedule: Schedule, fire: Fire) -> Fire:
        """A fire that is refused, that waits, or whose run can be submitted, for which room has been made."""
        try:
            self._submissions.checked(schedule.job, {**schedule.spec, "run": fire.run})
        except UsageError as error:
            return replace(fire, refused=str(error))
        live = self._live_beside(schedule, fire)
        if live is None:
            self._submissions.check_cluster(fire.run)  # of one that is silent a live run looks lost
            return fire
        if schedule.overlap is Overlap.QUEUE:
            return replace(fire, waits=live)
        if schedule.overlap is Overlap.REFUSE or live > fire.run:  # what fired later is not cancelled
            return replace(fire, refused=f"run {live} is live", behind=live)
        with suppress(RunError):  # it has ended meanwhile
            self._submissions.cancel(live)
        return fire

    def _submit(self, schedule: Schedule, fire: Fire) -> Fire:
        """Submit the run of a fire, unless somebody has."""
        number, spec = self._next_attempt(fire.run), {**schedule.spec, "run": fire.run}
        if number is None or not self._submissions.begin(number, schedule.job, spec):
            return fire
        return self._fires.put(replace(fire, submitted=True))

    def _refuse(self, fire: Fire, why: str) -> Fire:
        """Write down that a fire's run is not submitted, if it was not."""
        refused = replace(fire, refused=why, waits="", behind=fire.waits)
        stands = self._fires.first(refused)
        if stands.is_settled or self._next_attempt(fire.run) is None:
            return stands
        return self._fires.put(refused)

    def _is_settled(self, run: str) -> bool:
        """Whether a fire's run has been submitted or refused, or somebody else has submitted or published it."""
        fire = self._fires.of(run)
        return (fire is not None and fire.is_settled) or self._next_attempt(run) is None

    def _next_attempt(self, run: str) -> int | None:
        """Number of the attempt to begin at a run; None if it is published, or some cluster took one."""
        attempts = Attempts(self._root, run)
        numbers = attempts.numbers()
        ends = [attempts.ended(number) for number in numbers]
        taken = any(end is None or end.exit_code != NOT_TAKEN for end in ends)
        return None if taken or self._root.exists(paths.manifest_path(run)) else max(numbers, default=0) + 1

    def _live_beside(self, schedule: Schedule, fire: Fire) -> str | None:
        """The schedule's last run besides a fire's own, if it is live.

        Fires are read from the last one back, as far as one that was not refused, or that names the run that was in its way:
        when that was decided no run before was live.
        """
        for each in self._fires.backwards(schedule):
            run = each.behind if each.refused else each.run
            if run and run != fire.run:
                with suppress(RunError):  # it was never submitted, or is removed
                    return run if self._submissions.status(run).state in LIVE else None
                return None
        return None

    def _with_pause(self, schedule: Schedule) -> Schedule:
        """The schedule as it was paused or resumed last."""
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


def _valid(schedule: Schedule) -> Schedule:
    """The schedule, if it can fire.

    Raises:
        UsageError, ValueError: it cannot.
    """
    check(schedule)
    for time in (schedule.since, schedule.made or schedule.since):
        datetime.fromisoformat(time)
    return schedule
