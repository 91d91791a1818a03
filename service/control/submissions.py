"""Runs that are submitted, watched and stopped. Takes specs and run ids, gives attempts; the root holds all state.

A run has any number of attempts and at most one that is live. The attempt's number is taken by creating a file exclusively,
and holds what is to be done; only then is Ray asked to do it, as job `<run id>.<number>`. Submitting again is resuming.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from service.control.clusters import State
from service.control.statuses import LIVE, RunState, Status, Statuses, submission_id
from workers.errors import ClusterError, NoAnswer, NotTaken, RunError, SpecError, nearest
from workers.host.exit_codes import CANCELLED, NOT_TAKEN
from workers.kinds import Kind
from workers.spec.kinds import SPECS
from workers.spec.make import check_run_id, make, slug
from workers.store.attempts import Attempts, Begun, Ended

ASKED_AGAIN_S = (0.0, 1.0, 3.0)  # after an answer that was lost: has the cluster taken the job?


class Submissions(Statuses):
    """Submitted runs of a root, on one cluster. May be asked from many threads and processes."""

    def submit(self, job: str, values: Mapping[str, Any]) -> Status:
        """Begin an attempt at a run, or name the one that is live.

        Args:
            job: kind of job.
            values: its spec; the root is ours, and a run id is made where it names none.

        Raises:
            SpecError: with every mistake in the spec.
            RunError: the run is live, or published, with another spec.
            NoAnswer: the cluster does not answer; if it was asked for the job already, it may have it.
            NotTaken: the cluster refuses it, which is recorded as a failed attempt.
        """
        spec = self.checked(job, values)
        run = str(spec["run"])
        before = self._last(run)
        # Whether a run that was published without us is the one asked for only a job can say: its device, its listing.
        if before is not None and before.attempt and before.state in (*LIVE, RunState.PUBLISHED):
            return self._same(before, spec)
        self.check_cluster(run)
        ours = self._begin(1 + (before.attempt if before else 0), job, spec)
        return self.status(run) if ours else self._same(self.status(run), spec)

    def begin(self, number: int, job: str, values: Mapping[str, Any]) -> bool:
        """Begin an attempt at a run by its number, if nobody has taken that; gives whether it is ours.

        For callers that know how the attempts before it ended: whatever happens meanwhile, the run is not begun twice.

        Raises:
            SpecError: with every mistake in the spec.
            ClusterError: as `submit` does.
        """
        spec = self.checked(job, values)
        self.check_cluster(str(spec["run"]))
        return self._begin(number, job, spec)

    def check_cluster(self, run: str) -> None:
        """Prove that the cluster answers, before a run is submitted to it.

        Raises:
            ClusterError: it does not; the run was not submitted.
        """
        try:
            self.cluster.check()
        except ClusterError as error:
            raise type(error)(f"{error}; run {run!r} was not submitted: try again then") from error

    def checked(self, job: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """A spec as it will be written down: checked, with the root and a run id.

        Raises:
            SpecError: with every mistake in it.
            RunError: its run id is none.
        """
        if job not in SPECS:
            raise SpecError([f"there is no job {job!r}; {nearest(job, SPECS)}"])
        spec = make(SPECS[Kind(job)], {**values, "root": self.root.url})
        run = spec.run or self._made_up(job, values)
        return spec.model_dump(mode="json") | {"run": check_run_id(run)}

    def cancel(self, run: str) -> Status:
        """Stop the live attempt at a run; what it has finished stays.

        Raises:
            RunError: there is no such run, or none of its attempts is live.
        """
        status = self.status(run)
        if status.state not in LIVE:
            raise RunError(f"run {run!r} is {status.state}: there is nothing to cancel")
        self.cluster.stop(submission_id(run, status.attempt))
        Attempts(self.root, run).end(status.attempt, Ended(self._time(), CANCELLED, "cancelled"))
        return self.status(run)

    def cancel_all(self) -> list[str]:
        """Stop the runs of this root that the cluster runs; gives their ids."""
        live = [status for status in self.statuses() if status.state in LIVE]
        ours = [status for status in live if self.cluster.state(submission_id(status.run, status.attempt))[0].is_live]
        for status in ours:
            with suppress(RunError):  # it has ended meanwhile
                self.cancel(status.run)
        return [status.run for status in ours]

    def logs(self, run: str) -> str:
        """What the last attempt at a run has printed."""
        status = self.status(run)
        return self.cluster.logs(submission_id(run, status.attempt)) if status.attempt else ""

    def _begin(self, number: int, job: str, spec: Mapping[str, Any]) -> bool:
        run = str(spec["run"])
        attempts = Attempts(self.root, run)
        at = self.clock().isoformat(timespec="milliseconds")  # runs wait for their cluster in this order
        if not attempts.take(number, Begun(at, self.cluster.name, Kind(job), spec)):
            return False
        try:
            self.cluster.submit(submission_id(run, number), self.root.url, run, number)
        except NoAnswer as error:
            self._check_taken(attempts, number, error)
        except ClusterError as error:
            self._refuse(attempts, number, error)
        return True

    def _check_taken(self, attempts: Attempts, number: int, error: NoAnswer) -> None:
        """Find out whether the cluster has a job whose answer was lost; if that stays unknown, its attempt stays open.

        Raises:
            NoAnswer: it stays unknown.
            NotTaken: it has not; if the job starts in spite of that, it finds its attempt ended and does nothing.
        """
        for wait in ASKED_AGAIN_S:
            time.sleep(wait)
            try:
                if self.cluster.state(submission_id(attempts.run, number), insist=True)[0] is not State.UNKNOWN:
                    return
                self._refuse(attempts, number, error)
            except NoAnswer:
                continue
        unknown = f"whether it has taken attempt {number} at run {attempts.run!r} is not known: ask for its status"
        raise NoAnswer(f"{error}; {unknown}, and submit it again if it is lost") from error

    def _refuse(self, attempts: Attempts, number: int, error: ClusterError) -> None:
        """Record that an attempt was not taken, and raise NotTaken."""
        attempts.end(number, Ended(self._time(), NOT_TAKEN, str(error)))
        way_out = f"run {attempts.run!r} was not taken, as its attempt {number} says: submit it again then"
        raise NotTaken(f"{error}; {way_out}") from error

    def _same(self, status: Status, spec: Mapping[str, Any]) -> Status:
        """The status of a run that exists already, if it has the spec that is asked for."""
        begun = Attempts(self.root, status.run).begun(status.attempt)
        if begun is not None and dict(begun.spec) != dict(spec):
            raise RunError(f"run {status.run!r} is {status.state} with another spec; give another run id")
        return status

    def _made_up(self, job: str, values: Mapping[str, Any]) -> str:
        """A run id from the kind of job, its model, its corpus and the time."""
        model, corpus = (values.get(key) for key in ("model", "corpus"))
        named = [str(part.get("source", "")) for part in (model, corpus) if isinstance(part, Mapping)]
        words = [PurePosixPath(name.partition("?")[0].rstrip("/")).name for name in named]
        return f"{slug(job, *words)}-{self.clock():%Y%m%dt%H%M%S%fz}"
