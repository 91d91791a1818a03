"""Ray clusters that run jobs. Takes an address, gives jobs by their submission ids: submitted, watched, stopped, read.

A job's command is fixed here: a caller never gives one, nor a runtime environment, nor credentials. Ray Client (`ray://`) is
not supported.
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

from service.control.addresses import EXAMPLE, authorization, checked
from service.control.answers import last_line, silence, understood
from workers.errors import ClusterError, NoAnswer, NoJob, NotReady
from workers.host import log
from workers.host.log import Log

HEAD = ("-P", "-m", "jobs", "head")  # what starts a Ray on this machine
WARM_UP_S = 30.0
ANSWER_S = 20.0  # Ray's own client would wait for ever
ENDING_S = 20.0  # that a Ray on this machine may take to end
SILENCE_S = 5.0  # a cluster that has not answered is not asked again for so long: listing a hundred runs waits once

T = TypeVar("T")


class State(StrEnum):
    """How Ray sees a job; UNKNOWN where it knows none, as after the death of its head node."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"

    @property
    def is_live(self) -> bool:
        """Whether the job may still do something."""
        return self in (State.PENDING, State.RUNNING)


class Cluster(Protocol):
    """Something that runs jobs."""

    name: str  # its name in recorded attempts: its address

    def check(self) -> None:
        """Prove that it answers, and start it if it is ours to start. ClusterError if it does not."""

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:
        """Begin an attempt at a run. A submission id is used once.

        Raises:
            ClusterError: nothing answers there, or the job is refused.
        """

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:
        """The state of a job, and the cluster's message. Asks a cluster that was silent just now only if `insist`.

        Raises:
            NoAnswer: nothing answers.
        """

    def stop(self, submission_id: str) -> None:
        """Ask a job to end; it receives a signal and records how far it was."""

    def logs(self, submission_id: str) -> str:
        """What a job has printed so far."""


class RayCluster:
    """A Ray cluster behind the address of its head's dashboard, such as http://head:8265.

    Args:
        address: of the dashboard.
        python: the program that runs a job's module there; that of the cluster's own environment.
    """

    def __init__(self, address: str, python: str = "python") -> None:
        self.name = checked(address)
        self._python = python
        self._kept: Any = None
        self._lock = threading.Lock()
        self._silent_until = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: the cluster is not ours to end."""

    def check(self) -> None:
        """Prove that it answers."""
        self._asked(lambda client: client.get_version())

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:
        """Begin an attempt at a run."""
        words = [self._python, "-P", "-m", "jobs", "submitted", root, run, str(number)]
        # Drivers wait most of the time: one with a CPU of its own would keep it from the actors that it waits for.
        options = {"submission_id": submission_id, "entrypoint_num_cpus": 0, "entrypoint_num_gpus": 0}
        metadata = {"deconvoy_run": run, "deconvoy_attempt": str(number)}
        until = time.monotonic() + WARM_UP_S
        while True:
            try:
                self._asked(
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
            told = self._asked(lambda client: client.get_job_info(submission_id), insist=insist)
        except NoJob:
            return State.UNKNOWN, ""
        return State(str(told.status.value).lower()), last_line(str(told.message or ""))

    def stop(self, submission_id: str) -> None:
        """Ask a job to end."""
        with contextlib.suppress(NoJob):
            self._asked(lambda client: client.stop_job(submission_id))

    def logs(self, submission_id: str) -> str:
        """What a job has printed so far."""
        try:
            return str(self._asked(lambda client: client.get_job_logs(submission_id)))
        except NoJob:
            return ""

    def _client(self) -> Any:  # noqa: ANN401 - Ray's client
        with self._lock:
            if self._kept is None:
                self._kept = _connected(self.name, authorization())
        return self._kept

    def _asked(self, question: Callable[[Any], T], *, insist: bool = False) -> T:
        """Ask Ray; its client raises RuntimeError for whatever it is answered, and what `requests` raises."""
        if time.monotonic() < self._silent_until and not insist:
            raise NoAnswer(silence(self.name))
        try:
            answer = question(self._client())
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
            meaning = understood(self.name, error)
            if isinstance(meaning, NoAnswer):
                self._silent_until = time.monotonic() + SILENCE_S
            raise meaning from error
        self._silent_until = -math.inf
        return answer


class LocalCluster(RayCluster):
    """A Ray that is started on this machine when it is first needed, in a process that ends with this one."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1", sys.executable)
        self.name = "local"
        self._head: subprocess.Popen[str] | None = None

    def check(self) -> None:
        """Start it if it is not there, and prove that it answers."""
        self._start()
        super().check()

    def __exit__(self, *_: object) -> None:
        """End it, by force if need be."""
        if self._head is not None and self._head.stdin is not None:
            self._head.stdin.close()
            try:
                self._head.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._head.pid, signal.SIGKILL)
                Log().say(f"the Ray of this service did not end within {ENDING_S:g} s and was killed", log.WARNING)
            self._head, self._kept = None, None

    def _client(self) -> Any:  # noqa: ANN401 - Ray's client
        """Ray's client; reading starts nothing: a Ray that was not started knows no job."""
        if not self._is_running():
            raise NoJob("no Ray was started on this machine yet")
        return self._kept

    def _is_running(self) -> bool:
        return self._kept is not None and self._head is not None and self._head.poll() is None

    def _start(self) -> None:
        with self._lock:
            if self._is_running():
                return
            words = [sys.executable, *HEAD]
            # In a session of its own: Ctrl-C in a terminal is for the service, which then ends it in order.
            self._head = subprocess.Popen(  # noqa: S603 - our own words
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            head_words = self._head.stdout.readline().split() if self._head.stdout else []
            if len(head_words) != 2:
                raise ClusterError("Ray does not start on this machine: `ray start --head` says why")
            self._kept = _connected(head_words[0], authorization(head_words[1]))


class Nowhere:
    """No cluster, for callers that only read files of a root."""

    name = "nobody"

    def check(self) -> None:
        """There is none.

        Raises:
            ClusterError: always.
        """
        raise ClusterError(f"no cluster is named: give --address, such as {EXAMPLE}")

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:  # noqa: ARG002 - as a cluster
        """Nothing can be begun."""
        self.check()

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:  # noqa: ARG002 - as a cluster
        """Nothing is known."""
        return State.UNKNOWN, "no cluster is asked"

    def stop(self, submission_id: str) -> None:
        """A driver sees for itself that its attempt is over."""

    def logs(self, submission_id: str) -> str:  # noqa: ARG002 - as a cluster
        """Nothing is kept."""
        return ""


def _connected(address: str, headers: dict[str, str]) -> Any:  # noqa: ANN401 - Ray's client
    """Ray's client of the cluster at an address, and of no other: nothing is taken from, or left in, the environment."""
    import ray
    from ray.dashboard.modules.dashboard_sdk import SubmissionClient
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]  # Ray's types are not read
        """Ray's client, with a limit to waiting."""

        def __init__(self) -> None:
            """Connect; the constructor of JobSubmissionClient prefers RAY_ADDRESS to the address that it is given."""
            self._client_ray_version = ray.__version__
            SubmissionClient.__init__(self, address, headers=dict(headers))
            self._headers = headers  # without the token that Ray adds from the environment
            self._check_connection_and_version("2.0")

        def _do_request(self, *words: Any, **options: Any) -> Any:  # noqa: ANN401 - Ray's
            try:
                return super()._do_request(*words, timeout=ANSWER_S, **options)
            except RayError as error:  # about the token; it is not a RuntimeError
                raise PermissionError(str(error)) from error

    try:
        return Client()
    except RayError as error:  # Ray's own search for a token
        raise PermissionError(str(error)) from error
