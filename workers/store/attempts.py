"""Attempts at runs, as files of the root. Takes run ids, gives what each attempt was asked, how far it is, how it ended.

This is the truth about submitted runs: Ray's own table of jobs is lost with its head node. Every file is written by one
process; an attempt's number is taken by creating its first file exclusively.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, TypeVar

from pydantic.dataclasses import dataclass

from workers.errors import DamagedRun
from workers.kinds import Kind
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root

WAITING = "waiting"  # phase of an attempt that has no place on its cluster yet


@dataclass(frozen=True)
class Begun:
    """An attempt that a submitter has taken.

    Attributes:
        at: when, UTC, ISO 8601.
        cluster: which Ray cluster was to run it.
        job: kind of job.
        spec: its spec as plain values.
    """

    at: str
    cluster: str
    job: Kind
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """How far an attempt is.

    Attributes:
        at: when this was written, UTC, ISO 8601.
        phase: waiting (for a place on the cluster, `line` says who holds it), listing, scan, project, publish, ...
        done: units of this phase that are done, rejects among them.
        total: all of them, or None where nobody knows yet.
        unit: what is counted.
        rejects: images that could not be used, by reason; those of finished shards.
        per_s: units done per second of this phase.
        left_s: seconds that this phase will still take at this rate.
        shares: share of the actors' time that they waited for decoded images, wrote results, and computed; over the finished
            shards of the last phase that had some.
        line: the last line for a person.
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
    """How an attempt ended: the exit code of its job, what it said if it failed, and when (UTC, ISO 8601)."""

    at: str
    exit_code: int
    error: str = ""


Kept = TypeVar("Kept", Begun, Progress, Ended)
_BEGUN, _PROGRESS, _ENDED = JsonFormat(Begun), JsonFormat(Progress), JsonFormat(Ended)


class Attempts:
    """The attempts at one run.

    Args:
        root: where the run lies.
        run: its id, which must be one: it becomes part of paths.
    """

    def __init__(self, root: Root, run: str) -> None:
        self._root = root
        self.run = run

    def numbers(self) -> tuple[int, ...]:
        """The attempts that were taken, ascending."""
        taken = (name.partition("-begun.json") for name in self._root.files(paths.attempts_folder(self.run)))
        return tuple(sorted(int(number) for number, begun, _ in taken if begun and number.isdecimal()))

    def take(self, number: int, begun: Begun) -> bool:
        """Take an attempt's number; of any number of submitters one gets True."""
        return self._root.create(paths.attempt_path(self.run, number, "begun"), _BEGUN.encode(begun))

    def begun(self, number: int) -> Begun | None:
        """What an attempt was asked, when and where; None if there is no such attempt."""
        return self._read(_BEGUN, paths.attempt_path(self.run, number, "begun"))

    def progress(self, number: int) -> Progress | None:
        """How far an attempt is; None before it has reported."""
        return self._read(_PROGRESS, paths.attempt_path(self.run, number, "progress"))

    def tell(self, number: int, progress: Progress) -> None:
        """Report how far an attempt is."""
        self._root.put(paths.attempt_path(self.run, number, "progress"), _PROGRESS.encode(progress))

    def ended(self, number: int) -> Ended | None:
        """How an attempt ended; None if it has not reported it: it runs, or its machine is gone."""
        return self._read(_ENDED, paths.attempt_path(self.run, number, "ended"))

    def end(self, number: int, ended: Ended) -> bool:
        """Report how an attempt ended; the first report counts."""
        return self._root.create(paths.attempt_path(self.run, number, "ended"), _ENDED.encode(ended))

    def unwanted(self, number: int) -> str:
        """Why an attempt should not work on: another was begun since, or it is over. Nothing if it should."""
        last, ended = self.numbers()[-1], self.ended(number)
        if last != number:
            return f"there is attempt {last} by now"
        return "" if ended is None else ended.error or "it is over"

    def _read(self, form: JsonFormat[Kept], path: str) -> Kept | None:
        """What a file of an attempt says, whatever version has written it; None if there is no such file."""
        try:
            value = form.decode(self._root.read(path))
            datetime.fromisoformat(value.at)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DamagedRun(f"run {self.run!r}: {path} cannot be understood: {error}") from error
        return value
