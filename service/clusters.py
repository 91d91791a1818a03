"""Ray clusters that run jobs. Takes an address, gives jobs by their submission ids: submitted, watched, stopped, read.

A job's command is fixed here: a caller never gives one, nor a runtime environment, nor credentials. Ray Client (`ray://`) is
not spoken.
"""

import contextlib
import math
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from service.answers import last_line, silence, understood
from workers.errors import ClusterError, NoAnswer, NoJob, NotReady

TOKEN = Path(os.path.expanduser("~/.ray/auth_token"))  # as Ray says it; without a home it stays relative
DRIVER_CPUS = 1
WARM_UP_S = 30.0
ANSWER_S = 20.0  # Ray's own client would wait for ever
SILENCE_S = 5.0  # a cluster that has not answered is not asked again for so long: who lists a hundred runs waits once

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

    name: str  # what it is called in what is written down: its address

    def check(self) -> None:
        """Prove that it answers, and start it if it is ours to start. ClusterError if it does not."""

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:
        """Begin an attempt at a run. A submission id is used once.

        Raises:
            ClusterError: nothing answers there, or the job is refused.
        """

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:
        """How a job is, and what the cluster says of it. Asks also one that was silent just now, if `insist`.

        Raises:
            NoAnswer: nothing answers.
        """

    def stop(self, submission_id: str) -> None:
        """Ask a job to end; it is told by a signal and writes down how far it was."""

    def logs(self, submission_id: str) -> str:
        """What a job has printed so far."""


class RayCluster:
    """A Ray cluster behind the address of its head's dashboard, such as http://head:8265.

    Args:
        address: of the dashboard.
        python: the program that runs a job's module there; that of the cluster's own environment.
    """

    def __init__(self, address: str, python: str = "python") -> None:
        self.name = _checked(address)
        self._python = python
        self._kept: Any = None
        self._lock = threading.Lock()
        self._silent_until = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing: the cluster is somebody else's."""

    def check(self) -> None:
        """Prove that it answers."""
        self._asked(lambda client: client.get_version())

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:
        """Begin an attempt at a run."""
        words = [self._python, "-P", "-m", "jobs", "submitted", root, run, str(number)]
        options = {"submission_id": submission_id, "entrypoint_num_cpus": DRIVER_CPUS, "entrypoint_num_gpus": 0}
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
        """How a job is, and what Ray says of it."""
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
                self._kept = _connected(self.name)
        return self._kept

    def _asked(self, question: Callable[[Any], T], *, insist: bool = False) -> T:
        """Ask Ray; its client raises RuntimeError for whatever it is answered, and what `requests` raises."""
        if time.monotonic() < self._silent_until and not insist:
            raise NoAnswer(silence(self.name))
        try:
            answer = question(self._client())
        except (OSError, RuntimeError, ValueError, KeyError, ImportError) as error:
            found = understood(self.name, error)
            if isinstance(found, NoAnswer):
                self._silent_until = time.monotonic() + SILENCE_S
            raise found from error
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
        """End it."""
        if self._head is not None and self._head.stdin is not None:
            self._head.stdin.close()
            self._head.wait()
            self._head, self._kept = None, None

    def _client(self) -> Any:  # noqa: ANN401 - Ray's client
        """Who only looks at a job starts nothing: what is not there knows no job."""
        if not self._is_running():
            raise NoJob("no Ray was started on this machine yet")
        return self._kept

    def _is_running(self) -> bool:
        return self._kept is not None and self._head is not None and self._head.poll() is None

    def _start(self) -> None:
        with self._lock:
            if self._is_running():
                return
            words = [sys.executable, "-P", "-m", "jobs", "head"]
            # In a session of its own: Ctrl-C in a terminal is for the service, which then ends it in order.
            self._head = subprocess.Popen(  # noqa: S603 - our own words
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            told = self._head.stdout.readline().split() if self._head.stdout else []
            if len(told) != 2:
                raise ClusterError("Ray does not start on this machine: `ray start --head` says why")
            self._kept = _connected(told[0], told[1])


class Nowhere:
    """No cluster, for who only looks at what is written under a root."""

    name = "nobody"

    def check(self) -> None:
        """There is none.

        Raises:
            ClusterError: always.
        """
        raise ClusterError("no cluster is named: give --address, such as http://head:8265")

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


def _connected(address: str, token: str | None = None) -> Any:  # noqa: ANN401 - Ray's client
    """Ray's client, with the token of the cluster if one is given, or the environment, or Ray on this machine, has one."""
    if token is not None:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    elif "RAY_AUTH_MODE" not in os.environ and (
        {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) or TOKEN.is_file()
    ):
        os.environ["RAY_AUTH_MODE"] = "token"
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]  # Ray's types are not read
        """Ray's client, which does not wait for ever."""

        def _do_request(self, *words: Any, **options: Any) -> Any:  # noqa: ANN401 - Ray's
            try:
                return super()._do_request(*words, timeout=ANSWER_S, **options)
            except RayError as error:  # of the token, and no RuntimeError
                raise PermissionError(str(error)) from error

    try:
        return Client(address)
    except RayError as error:  # of a file that holds no token
        raise PermissionError(str(error)) from error


def _checked(address: str) -> str:
    """An address that may be written down.

    Raises:
        ClusterError: it is none, or holds a secret.
    """
    try:
        parts = urlsplit(address)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its port is no number
        right = False
    if not right:
        raise ClusterError(f"address {address!r} is no address of a Ray dashboard, such as http://head:8265")
    if "@" in parts.netloc:
        raise ClusterError("an address holds no user and no password: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH")
    return address
