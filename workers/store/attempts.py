"""Attempts at runs, as files under the root. Takes run ids, gives each attempt's request, progress and end.

These files are the authority on submitted runs, since Ray's own table of jobs is lost with its head node. Every file is written
by one process. A submitter takes an attempt's number by creating the attempt's first file exclusively.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import TypeVar

from pydantic.dataclasses import dataclass

from workers.errors import DamagedRun
from workers.kinds import Kind
from workers.spec.plain import PlainSpec
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root

WAITING = "waiting"  # phase of an attempt that waits for a place on its cluster


@dataclass(frozen=True)
class Begun:
    """The request of an attempt.

    Attributes:
        at: when it was submitted, UTC, ISO 8601.
        cluster: the Ray cluster that it was submitted to.
        job: kind of job.
        spec: its spec; only the job parses it, so that the status of a run of another version can be read.
    """

    at: str
    cluster: str
    job: Kind
    spec: PlainSpec


@dataclass(frozen=True)
class Progress:
    """The progress of an attempt.

    Attributes:
        at: when this was written, UTC, ISO 8601.
        phase: waiting (for a place on the cluster; `line` says which runs hold it), listing, scan, project, publish, ...
        done: units of this phase that are done, including rejects.
        total: all units of this phase; None if not yet known.
        unit: name of the units.
        rejects: images rejected, by reason; finished shards only.
        per_s: units done per second in this phase.
        left_s: seconds that this phase will still take at this rate.
        shares: shares of the actors' time spent waiting for decoded images, writing results, and computing; over the finished
            shards of the last phase that had any.
        line: the latest message.
    """

    at: str
    phase: str = ""
    done: int = 0
    total: int | None = None
    unit: str = ""
    rejects: Mapping[str, int] = field(default_factory=dict)
    per_s: float | None = None
    left_s: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    line: str = ""


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: when (UTC, ISO 8601), the exit code of its job, and its error message if it failed."""

    at: str
    exit_code: int
    error: str = ""


Document = TypeVar("Document", Begun, Progress, Ended)
_BEGUN, _PROGRESS, _ENDED = JsonFormat(Begun), JsonFormat(Progress), JsonFormat(Ended)


class Attempts:
    """The attempts at one run.

    Args:
        root: where the run is stored.
        run: its id, which must be valid because it becomes part of paths.
    """

    def __init__(self, root: Root, run: str) -> None:
        self._root = root
        self.run = run

    def numbers(self) -> tuple[int, ...]:
        """The numbers of all attempts, ascending."""
        taken = (name.partition("-begun.json") for name in self._root.files(paths.attempts_folder(self.run)))
        return tuple(sorted(int(number) for number, begun, _ in taken if begun and number.isdecimal()))

    def take(self, number: int, begun: Begun) -> bool:
        """Take an attempt's number. Among concurrent submitters only one gets True."""
        return self._root.create(paths.attempt_path(self.run, number, "begun"), _BEGUN.encode(begun))

    def begun(self, number: int) -> Begun | None:
        """The request of an attempt; None if there is no such attempt."""
        return self._read(_BEGUN, paths.attempt_path(self.run, number, "begun"))

    def progress(self, number: int) -> Progress | None:
        """The progress of an attempt; None before its first report."""
        return self._read(_PROGRESS, paths.attempt_path(self.run, number, "progress"))

    def report_progress(self, number: int, progress: Progress) -> None:
        """Store the progress of an attempt."""
        self._root.put(paths.attempt_path(self.run, number, "progress"), _PROGRESS.encode(progress))

    def ended(self, number: int) -> Ended | None:
        """How an attempt ended; None if it is running or its machine is lost."""
        return self._read(_ENDED, paths.attempt_path(self.run, number, "ended"))

    def end(self, number: int, ended: Ended) -> bool:
        """Store how an attempt ended. The first report counts; later ones give False."""
        return self._root.create(paths.attempt_path(self.run, number, "ended"), _ENDED.encode(ended))

    def stop_reason(self, number: int) -> str:
        """Why an attempt should stop: a later attempt has begun, or this one has ended. Empty if it should continue."""
        last, ended = self.numbers()[-1], self.ended(number)
        if last != number:
            return f"attempt {last} has started since"
        return "" if ended is None else ended.error or "it has already ended"

    def _read(self, form: JsonFormat[Document], path: str) -> Document | None:
        """Read a file of an attempt, written by any version; None if there is no such file."""
        try:
            value = form.decode(self._root.read(path))
            datetime.fromisoformat(value.at)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DamagedRun(
                f"run {self.run!r}: {path} cannot be parsed: {error}; remove the run (`deconvoy rm {self.run} --root ROOT`)"
            ) from error
        return value
