"""Who is told how a run goes. Takes phases, numbers and lines; what becomes of them is the watcher's business."""

from collections.abc import Mapping
from typing import Protocol

from workers.actors.shard import ShardReport
from workers.host.log import Log


class Watcher(Protocol):
    """Follows a run. Phases are listing, scan, project and publish, in this order; none is left out or comes twice."""

    def begin(self, run: str) -> Mapping[str, object]:
        """The run has this id; gives what every line about it carries, those of its actors too."""

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """A phase begins; `total` is None where nobody knows it yet."""

    def advance(self, done: int, rejects: int = 0) -> None:
        """So many are done in this phase, rejects among them: absolute numbers."""

    def report(self, report: ShardReport) -> None:
        """An item is done, with what it cost."""

    def say(self, line: str, **about: object) -> None:
        """One line for a person, and what it is about: a shard, its result, a node."""

    def note(self, line: str, **about: object) -> None:
        """One line for the log alone: there are many of them."""

    def close(self) -> None:
        """The run is over, well or not."""


class Silent:
    """A watcher that tells nobody."""

    def begin(self, run: str) -> Mapping[str, object]:
        """The run's id."""
        return {"run": run}

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """Nothing."""

    def advance(self, done: int, rejects: int = 0) -> None:
        """Nothing."""

    def report(self, report: ShardReport) -> None:
        """Nothing."""

    def say(self, line: str, **about: object) -> None:
        """Nothing."""

    def note(self, line: str, **about: object) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Logged(Silent):
    """A watcher that writes phases and lines to the log.

    Args:
        about: what every line carries.
    """

    def __init__(self, **about: object) -> None:
        self._log = Log(about)

    def begin(self, run: str) -> Mapping[str, object]:
        """Every line from here on carries the run's id."""
        self._log = self._log.to(run=run)
        return self._log.about

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """A phase begins."""
        self._log.say(name if total is None else f"{name}: {total:,} {unit}", phase=name, total=total, unit=unit)

    def say(self, line: str, **about: object) -> None:
        """One line for a person."""
        self._log.to(**about).say(line)

    def note(self, line: str, **about: object) -> None:
        """One line for the log."""
        self._log.to(**about).say(line)
