"""Submitting and cancelling runs. Takes specs and run ids, gives attempts; all state is in the root.

A run has any number of attempts, at most one of them live. A submitter takes the number of an attempt by creating its file, which
contains the spec, exclusively. Only then does it submit the job `<run id>.<number>` to Ray. Submitting a run again resumes it.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from service.control.clusters import State
from service.control.statuses import LIVE, RunState, Status, Statuses, submission_id
from workers.errors import ClusterError, NoAnswer, NotTaken, RunError
from workers.host.exit_codes import CANCELLED, NOT_TAKEN
from workers.spec.differences import differences
from workers.spec.kinds import kind_named, kind_of
from workers.spec.make import check_run_id, slug
from workers.spec.parts import AnyRun, JobSpec, NetworkSpec
from workers.spec.plain import PlainSpec
from workers.store.attempts import Attempts, Begun, Ended

RECHECK_S = (0.0, 1.0, 3.0)  # waits before asking whether the cluster took a job whose answer was lost


class Submissions(Statuses):
    """Submitted runs of a root, on one cluster. Safe to use from many threads and processes."""

    def submit(self, job: str, values: Mapping[str, Any]) -> Status:
        """Parse a spec, and start an attempt at its run; see `parse_spec` and `start`."""
        return self.start(self.parse_spec(job, values))

    def start(self, spec: AnyRun) -> Status:
        """Start an attempt at a run, or return the status of the live one.

        Args:
            spec: its spec, as `parse_spec` gives it.

        Raises:
            RunError: the run is live, or published, with another spec.
            NoAnswer: the cluster does not answer; if the job was sent already, the cluster may have it.
            NotTaken: the cluster refuses the job, which is recorded as a failed attempt.
        """
        run = run_of(spec)
        last = self._last_status(run)
        # A run published without an attempt goes to a job: only a job can compare its device and listing with the spec.
        if last is not None and last.attempt and last.state in (*LIVE, RunState.PUBLISHED):
            return self.require_same(last, spec)
        is_ours = self.begin(1 + (last.attempt if last else 0), spec)
        return self.status(run) if is_ours else self.require_same(self.status(run), spec)

    def begin(self, number: int, spec: AnyRun) -> bool:
        """Start the attempt of a given number, unless the number is taken; gives whether it was started.

        For callers that know how the earlier attempts ended. Whatever happens in the meantime, the run is not started twice.

        Raises:
            ClusterError: as `start` does.
        """
        run = run_of(spec)
        self.check_cluster(run)
        attempts = Attempts(self.root, run)
        at = self.clock().isoformat(timespec="milliseconds")  # runs wait for the cluster in the order of these times
        if not attempts.take(number, Begun(at, self.cluster.name, kind_of(spec), PlainSpec.of(spec))):
            return False
        try:
            self.cluster.submit(submission_id(run, number), self.root.url, run, number)
        except NoAnswer as error:
            self._check_taken(attempts, number, error)
        except ClusterError as error:
            self._refuse(attempts, number, error)
        return True

    def check_cluster(self, run: str) -> None:
        """Check that the cluster answers before a run is submitted to it.

        Raises:
            ClusterError: it does not answer; the run was not submitted.
        """
        try:
            self.cluster.check()
        except ClusterError as error:
            raise type(error)(
                f"{error}; run {run!r} was not submitted: submit it again once the cluster answers"
            ) from error

    def parse_spec(self, job: str, values: Mapping[str, Any]) -> AnyRun:
        """A spec that can be started: its root is replaced by ours, and a missing run id is made.

        Args:
            job: kind of job.
            values: its spec as plain values.

        Raises:
            SpecError: with every mistake in it.
            RunError: its run id is not valid.
        """
        spec = PlainSpec(dict(values)).parse(kind_named(job), root=self.root.url)
        return spec.model_copy(update={"run": check_run_id(spec.run or self._make_run_id(spec))})

    def last_spec(self, run: str) -> AnyRun:
        """The spec of the last attempt at a run, to start it again.

        Raises:
            RunError: there is no such run, or it was never submitted.
            SpecError: the spec is of another version.
        """
        begun = Attempts(self.root, run).begun(self.status(run).attempt)
        if begun is None:
            raise RunError(f"run {run!r} was never submitted, so its spec is not known; submit it with its spec")
        return begun.spec.parse(begun.job, root=self.root.url)

    def cancel(self, run: str) -> Status:
        """Cancel the live attempt at a run; its finished shards are kept.

        Raises:
            RunError: there is no such run, or it is not live.
        """
        status = self.status(run)
        if status.state not in LIVE:
            raise RunError(f"run {run!r} is {status.state}: there is nothing to cancel")
        self.cluster.stop(submission_id(run, status.attempt))
        Attempts(self.root, run).end(status.attempt, Ended(self._time(), CANCELLED, "cancelled"))
        return self.status(run)

    def cancel_all(self) -> list[str]:
        """Cancel the live runs of this root on the cluster; gives their ids."""
        live = [status for status in self.statuses() if status.state in LIVE]
        ours = [status for status in live if self.cluster.state(submission_id(status.run, status.attempt))[0].is_live]
        for status in ours:
            with suppress(RunError):  # it has ended since
                self.cancel(status.run)
        return [status.run for status in ours]

    def logs(self, run: str, attempt: int | None = None) -> str:
        """The output of an attempt at a run, by default of the last one.

        Raises:
            RunError: there is no such run or attempt.
        """
        last = self.status(run).attempt
        if attempt is not None and not 1 <= attempt <= last:
            raise RunError(f"run {run!r} has no attempt {attempt}; it has {f'1 to {last}' if last else 'none'}")
        return self.cluster.logs(submission_id(run, attempt or last)) if last else ""

    def _check_taken(self, attempts: Attempts, number: int, error: NoAnswer) -> None:
        """Find out whether the cluster took a job although its answer was lost; if that stays unknown, the attempt stays open.

        Raises:
            NoAnswer: it stays unknown.
            NotTaken: it did not; if the job starts nevertheless, it finds its attempt ended and does nothing.
        """
        for wait in RECHECK_S:
            time.sleep(wait)
            try:
                if self.cluster.state(submission_id(attempts.run, number), insist=True)[0] is not State.UNKNOWN:
                    return
                self._refuse(attempts, number, error)
            except NoAnswer:
                continue
        unknown = f"it may or may not have accepted attempt {number} of run {attempts.run!r}: check the run's status"
        raise NoAnswer(f"{error}; {unknown}, and submit it again if it is lost") from error

    def _refuse(self, attempts: Attempts, number: int, error: ClusterError) -> None:
        """Record that an attempt was not taken, and raise NotTaken."""
        attempts.end(number, Ended(self._time(), NOT_TAKEN, str(error)))
        way_out = (
            f"the cluster did not accept run {attempts.run!r} (attempt {number}): submit it again once this is fixed"
        )
        raise NotTaken(f"{error}; {way_out}") from error

    def require_same(self, status: Status, spec: AnyRun) -> Status:
        """The status of an existing run, which must have the submitted spec.

        Raises:
            RunError: it has another one.
        """
        begun = Attempts(self.root, status.run).begun(status.attempt)
        if begun is not None and begun.spec != PlainSpec.of(spec):
            differing = differences(begun.spec.values, PlainSpec.of(spec).values)
            raise RunError(
                f"run {status.run!r} is {status.state} with a different spec ({differing}); choose another run id"
            )
        return status

    def _make_run_id(self, spec: AnyRun) -> str:
        """A run id from the kind of job, its model and corpus, if it has them, and the time."""
        sources = (
            *([spec.model.source] if isinstance(spec, NetworkSpec) else ()),
            *([spec.corpus.source] if isinstance(spec, JobSpec) else ()),
        )
        words = [PurePosixPath(source.partition("?")[0].rstrip("/")).name for source in sources]
        return f"{slug(kind_of(spec), *words)}-{self.clock():%Y%m%dt%H%M%S%fz}"


def run_of(spec: AnyRun) -> str:
    """The run id of a spec that `Submissions.parse_spec` gave."""
    return check_run_id(spec.run or "")
