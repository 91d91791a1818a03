"""The interface that follows a run. Takes phases, counts and messages; gives a silent and a logging implementation."""

from collections.abc import Mapping
from typing import Protocol

from workers.actors.reports import ShardReport
from workers.host.log import Log


class Watcher(Protocol):
    """Follows a run. The phases of a scan are listing, scan, project and publish, in this order.

    Attributes:
        is_dry: whether the run ends as soon as its plan is known, by `PlanReached`. Until then it starts no actor, and writes
            nothing under the root.
    """

    is_dry: bool

    def begin(self, run: str) -> Mapping[str, object]:
        """Begin a run; returns the log fields of every line about it, including those of its actors."""

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """Begin a phase; `total` is None if it is not yet known."""

    def advance(self, done: int, rejects: int = 0) -> None:
        """Set how many units of this phase are done, including rejects; both are totals, not increments."""

    def report(self, report: ShardReport) -> None:
        """Report a finished item and its cost."""

    def say(self, line: str, **about: object) -> None:
        """Report a message to the user, and its log fields: a shard, its result, a node."""

    def note(self, line: str, **about: object) -> None:
        """Write a message only to the log; for messages that are frequent."""

    def close(self) -> None:
        """End the run, successful or not."""


class SilentWatcher:
    """A watcher that reports nothing."""

    is_dry = False

    def begin(self, run: str) -> Mapping[str, object]:
        """The run id as a log field."""
        return {"run": run}

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """Do nothing."""

    def advance(self, done: int, rejects: int = 0) -> None:
        """Do nothing."""

    def report(self, report: ShardReport) -> None:
        """Do nothing."""

    def say(self, line: str, **about: object) -> None:
        """Do nothing."""

    def note(self, line: str, **about: object) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class LogWatcher(SilentWatcher):
    """A watcher that writes phases and messages to the log.

    Args:
        about: log fields of every line.
    """

    def __init__(self, **about: object) -> None:
        self._log = Log(about)

    def begin(self, run: str) -> Mapping[str, object]:
        """Begin a run; all further lines have its id."""
        self._log = self._log.to(run=run)
        return self._log.about

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """Log a phase."""
        self._log.say(name if total is None else f"{name}: {total:,} {unit}", phase=name, total=total, unit=unit)

    def say(self, line: str, **about: object) -> None:
        """Log a message."""
        self._log.to(**about).say(line)

    def note(self, line: str, **about: object) -> None:
        """Log a message."""
        self._log.to(**about).say(line)
