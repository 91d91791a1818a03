"""Who is told how a run goes. Takes phases, numbers and lines; what becomes of them is the watcher's business."""

from typing import Protocol

from workers.scan import ShardReport


class Watcher(Protocol):
    """Follows a run. Phases are listing, scan, project and publish, in this order; none is left out or comes twice."""

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """A phase begins; `total` is None where nobody knows it yet."""

    def advance(self, done: int, rejects: int = 0) -> None:
        """So many are done in this phase, rejects among them: absolute numbers."""

    def report(self, report: ShardReport) -> None:
        """An item is done, with what it cost."""

    def say(self, line: str) -> None:
        """One line for a person."""

    def close(self) -> None:
        """The run is over, well or not."""


class Silent:
    """A watcher that tells nobody."""

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """Nothing."""

    def advance(self, done: int, rejects: int = 0) -> None:
        """Nothing."""

    def report(self, report: ShardReport) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
