"""Ray clusters that run jobs. Takes an address and submission ids, submits and stops jobs, gives their states and logs.

This module fixes the command of a job: callers cannot set it, nor a runtime environment or credentials. Ray Client (`ray://`)
is not supported.
"""

import contextlib
import math
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol, Self, TypeVar

from service.control.addresses import EXAMPLE, authorization, require_url
from service.control.answers import last_line, silence_message, translate
from workers.errors import ClusterError, NoAnswer, NoJob, NotReady
from workers.host import log
from workers.host.log import Log

HEAD = ("-P", "-m", "jobs", "head")  # starts a Ray on this machine
WARM_UP_S = 30.0  # longest wait for a new cluster's job agent
ANSWER_S = 20.0  # timeout of a request; Ray's own client has none
ENDING_S = 20.0  # longest wait for a Ray on this machine to end
SILENCE_S = 5.0  # pause after a request without an answer, so that listing a hundred runs waits only once

T = TypeVar("T")


class State(StrEnum):
    """The state of a job in Ray; UNKNOWN if Ray does not know the job, as after its head node died."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"

    @property
    def is_live(self) -> bool:
        """Whether the job may still do work."""
        return self in (State.PENDING, State.RUNNING)


class Cluster(Protocol):
    """A cluster that runs jobs."""

    name: str  # the address, as recorded in attempts

    def check(self) -> None:
        """Check that the cluster answers; a local one is started if need be.

        Raises:
            ClusterError: the cluster does not answer.
        """

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:
        """Start an attempt at a run. A submission id is used only once.

        Raises:
            ClusterError: the cluster does not answer, or refuses the job.
        """

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:
        """The state of a job, and the cluster's message.

        Args:
            submission_id: id of the job.
            insist: query the cluster even if it has just failed to answer.

        Raises:
            NoAnswer: the cluster does not answer.
        """

    def stop(self, submission_id: str) -> None:
        """Tell a job to end; it receives a signal and records its progress."""

    def logs(self, submission_id: str) -> str:
        """The output of a job so far."""


class RayCluster:
    """A Ray cluster.

    Args:
        address: URL of the dashboard of its head, such as http://head:8265.
        python: Python program of the cluster's environment, which runs the jobs.
    """

    def __init__(self, address: str, python: str = "python") -> None:
        self.name = require_url(address)
        self._python = python
        self._connection: Any = None
        self._lock = threading.Lock()
        self._silent_until = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: we did not start the cluster."""

    def check(self) -> None:
        """Check that the cluster answers."""
        self._query(lambda client: client.get_version())

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:
        """Start an attempt at a run."""
        words = [self._python, "-P", "-m", "jobs", "submitted", root, run, str(number)]
        # A driver mostly waits. A CPU reserved for it would be missing for its actors.
        options = {"submission_id": submission_id, "entrypoint_num_cpus": 0, "entrypoint_num_gpus": 0}
        metadata = {"deconvoy_run": run, "deconvoy_attempt": str(number)}
        until = time.monotonic() + WARM_UP_S
        while True:
            try:
                self._query(
                    lambda client: client.submit_job(entrypoint=shlex.join(words), metadata=metadata, **options)
                )
                return
            except NotReady:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:
        """The state of a job, and Ray's message."""
        try:
            job = self._query(lambda client: client.get_job_info(submission_id), insist=insist)
        except NoJob:
            return State.UNKNOWN, ""
        return State(str(job.status.value).lower()), last_line(str(job.message or ""))

    def stop(self, submission_id: str) -> None:
        """Tell a job to end."""
        with contextlib.suppress(NoJob):
            self._query(lambda client: client.stop_job(submission_id))

    def logs(self, submission_id: str) -> str:
        """The output of a job so far."""
        try:
            return str(self._query(lambda client: client.get_job_logs(submission_id)))
        except NoJob:
            return ""

    def _client(self) -> Any:  # noqa: ANN401 - Ray's client
        with self._lock:
            if self._connection is None:
                self._connection = _connect(self.name, authorization())
        return self._connection

    def _query(self, request: Callable[[Any], T], *, insist: bool = False) -> T:
        """Make a request to Ray, whose client raises RuntimeError for error responses, and the errors of `requests`."""
        if time.monotonic() < self._silent_until and not insist:
            raise NoAnswer(silence_message(self.name))
        try:
            answer = request(self._client())
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
            translated = translate(self.name, error)
            if isinstance(translated, NoAnswer):
                self._silent_until = time.monotonic() + SILENCE_S
            raise translated from error
        self._silent_until = -math.inf
        return answer


class LocalCluster(RayCluster):
    """A Ray on this machine, started when it is first needed, in a process that ends with this one."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1", sys.executable)
        self.name = "local"
        self._head: subprocess.Popen[str] | None = None

    def check(self) -> None:
        """Start Ray if it is not running, and check that it answers."""
        self._start()
        super().check()

    def __exit__(self, *_: object) -> None:
        """Stop Ray, by force if need be."""
        if self._head is not None and self._head.stdin is not None:
            self._head.stdin.close()
            try:
                self._head.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._head.pid, signal.SIGKILL)
                Log().say(f"the Ray of this service did not end within {ENDING_S:g} s and was killed", log.WARNING)
            self._head, self._connection = None, None

    def _client(self) -> Any:  # noqa: ANN401 - Ray's client
        """Ray's client. Queries do not start Ray: before it is started, there are no jobs."""
        if not self._is_running():
            raise NoJob("Ray has not been started on this machine")
        return self._connection

    def _is_running(self) -> bool:
        return self._connection is not None and self._head is not None and self._head.poll() is None

    def _start(self) -> None:
        with self._lock:
            if self._is_running():
                return
            words = [sys.executable, *HEAD]
            # In its own session, so that Ctrl-C in a terminal reaches only the service, which then stops Ray.
            self._head = subprocess.Popen(  # noqa: S603 - no word comes from outside
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            head_words = self._head.stdout.readline().split() if self._head.stdout else []
            if len(head_words) != 2:
                raise ClusterError("Ray does not start on this machine; run `ray start --head` to see why")
            self._connection = _connect(head_words[0], authorization(head_words[1]))


class Nowhere:
    """No cluster, for callers that only read the files of a root."""

    name = "nobody"

    def check(self) -> None:
        """Raise an error, because there is no cluster.

        Raises:
            ClusterError: always.
        """
        raise ClusterError(f"no cluster address: give --address, such as {EXAMPLE}")

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:  # noqa: ARG002 - as a cluster
        """Raise an error, as `check`."""
        self.check()

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:  # noqa: ARG002 - as a cluster
        """The state is unknown."""
        return State.UNKNOWN, "there is no cluster"

    def stop(self, submission_id: str) -> None:
        """Do nothing: the driver notices that its attempt was cancelled."""

    def logs(self, submission_id: str) -> str:  # noqa: ARG002 - as a cluster
        """There are no logs."""
        return ""


def _connect(address: str, headers: dict[str, str]) -> Any:  # noqa: ANN401 - Ray's client
    """Ray's client for exactly this cluster; it neither reads nor changes the environment."""
    import ray
    from ray.dashboard.modules.dashboard_sdk import SubmissionClient
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]  # Ray's types are not read
        """Ray's client with a timeout."""

        def __init__(self) -> None:
            """Connect without the constructor of JobSubmissionClient, which prefers RAY_ADDRESS to the address."""
            self._client_ray_version = ray.__version__
            SubmissionClient.__init__(self, address, headers=dict(headers))
            self._headers = headers  # without the token of the environment, which Ray adds
            self._check_connection_and_version("2.0")

        def _do_request(self, *words: Any, **options: Any) -> Any:  # noqa: ANN401 - Ray's
            try:
                return super()._do_request(*words, timeout=ANSWER_S, **options)
            except RayError as error:  # a problem with the token; not a RuntimeError
                raise PermissionError(str(error)) from error

    try:
        return Client()
    except RayError as error:  # from Ray's own search for a token
        raise PermissionError(str(error)) from error
