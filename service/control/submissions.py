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
from workers.errors import ClusterError, NoAnswer, NotTaken, RunError, SpecError, nearest
from workers.host.exit_codes import CANCELLED, NOT_TAKEN
from workers.kinds import Kind
from workers.spec.kinds import SPECS
from workers.spec.make import check_run_id, make, slug
from workers.store.attempts import Attempts, Begun, Ended

RECHECK_S = (0.0, 1.0, 3.0)  # waits before asking whether the cluster took a job whose answer was lost


class Submissions(Statuses):
    """Submitted runs of a root, on one cluster. Safe to use from many threads and processes."""

    def submit(self, job: str, values: Mapping[str, Any]) -> Status:
        """Start an attempt at a run, or return the status of the live one.

        Args:
            job: kind of job.
            values: its spec; the root is replaced by ours, and a missing run id is made.

        Raises:
            SpecError: with every mistake in the spec.
            RunError: the run is live, or published, with another spec.
            NoAnswer: the cluster does not answer; if the job was sent already, the cluster may have it.
            NotTaken: the cluster refuses the job, which is recorded as a failed attempt.
        """
        spec = self.check_spec(job, values)
        run = str(spec["run"])
        last = self._last_status(run)
        # A run published without an attempt goes to a job: only a job can compare its device and listing with the spec.
        if last is not None and last.attempt and last.state in (*LIVE, RunState.PUBLISHED):
            return self._require_same(last, spec)
        self.check_cluster(run)
        is_ours = self._begin(1 + (last.attempt if last else 0), job, spec)
        return self.status(run) if is_ours else self._require_same(self.status(run), spec)

    def begin(self, number: int, job: str, values: Mapping[str, Any]) -> bool:
        """Start the attempt of a given number, unless the number is taken; gives whether it was started.

        For callers that know how the earlier attempts ended. Whatever happens in the meantime, the run is not started twice.

        Raises:
            SpecError: with every mistake in the spec.
            ClusterError: as `submit` does.
        """
        spec = self.check_spec(job, values)
        self.check_cluster(str(spec["run"]))
        return self._begin(number, job, spec)

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

    def check_spec(self, job: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """A spec as it is stored: checked, with the root and a run id.

        Raises:
            SpecError: with every mistake in it.
            RunError: its run id is not valid.
        """
        if job not in SPECS:
            raise SpecError([f"there is no kind of job {job!r}; {nearest(job, SPECS)}"])
        spec = make(SPECS[Kind(job)], {**values, "root": self.root.url})
        run = spec.run or self._make_run_id(job, values)
        return spec.model_dump(mode="json") | {"run": check_run_id(run)}

    def cancel(self, run: str) -> Status:
        """Cancel the live attempt at a run; its finished shards stay.

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

    def logs(self, run: str) -> str:
        """The output of the last attempt at a run."""
        status = self.status(run)
        return self.cluster.logs(submission_id(run, status.attempt)) if status.attempt else ""

    def _begin(self, number: int, job: str, spec: Mapping[str, Any]) -> bool:
        run = str(spec["run"])
        attempts = Attempts(self.root, run)
        at = self.clock().isoformat(timespec="milliseconds")  # runs wait for the cluster in the order of these times
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

    def _require_same(self, status: Status, spec: Mapping[str, Any]) -> Status:
        """The status of an existing run, which must have the submitted spec."""
        begun = Attempts(self.root, status.run).begun(status.attempt)
        if begun is not None and dict(begun.spec) != dict(spec):
            raise RunError(f"run {status.run!r} is {status.state} with a different spec; give another run id")
        return status

    def _make_run_id(self, job: str, values: Mapping[str, Any]) -> str:
        """A run id from the kind of job, its model, its corpus and the time."""
        model, corpus = (values.get(key) for key in ("model", "corpus"))
        named = [str(part.get("source", "")) for part in (model, corpus) if isinstance(part, Mapping)]
        words = [PurePosixPath(name.partition("?")[0].rstrip("/")).name for name in named]
        return f"{slug(job, *words)}-{self.clock():%Y%m%dt%H%M%S%fz}"
