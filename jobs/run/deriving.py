"""Results derived from those of shards, by actors. Takes items, runs those that are missing; makes damaged ones again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.run.attempt import Attempt
from jobs.run.results import StoredResults
from workers.actors.merge import DerivedReport
from workers.actors.shard import Derived, Shard, log_fields
from workers.errors import DamagedFile, MemoryTaken, OutOfMemory
from workers.store import paths


@dataclass
class Deriving:
    """Runs the missing items.

    Attributes:
        run: the attempt; its actors can derive results.
        shards: the shards that the items depend on.
        levels: the items; those of a level depend on shards and on earlier levels alone.
        stored: the results of the shards.
    """

    run: Attempt[Any]
    shards: Sequence[Shard]
    levels: Sequence[Sequence[Derived]]
    stored: StoredResults
    _by_result: dict[str, Shard | Derived] = field(default_factory=dict)
    _derived: set[str] = field(default_factory=set)
    _remade: set[str] = field(default_factory=set)

    def finish(self, phase: str, unit: str) -> StoredResults:
        """Run the missing items, level by level; returns all results.

        Raises:
            DamagedFile: a result cannot be read, although it was computed again.
            MemoryTaken: an actor has too little memory for an item.
        """
        every = [item for level in self.levels for item in level]
        self._by_result = {node.result: node for node in [*self.shards, *every]}
        folder = paths.shard_folder(paths.MERGES)
        done = {f"{folder}/{name}" for name in self.run.root.files(folder)} if every else set()
        todo = [[item for item in level if item.result not in done] for level in self.levels]
        if any(todo):
            self.run.watch.phase(phase, sum(map(len, todo)), unit)
        for level in todo:
            self._run(level)
        return StoredResults(self.run.root, self.remake)

    def remake(self, node: Shard | Derived) -> None:
        """Run a node again whose result is missing or damaged."""
        if isinstance(node, Derived):
            self.run.watch.say(f"{node.result} is missing or damaged; computing it again", **log_fields(node))
            self._run([node])
        else:
            self.stored.remake(node)

    def _run(self, items: Sequence[Derived]) -> None:
        """Run some items. A result that they depend on and that is missing or damaged is computed again first."""
        while items:
            reports = self._reports(items)
            missing = {child: reason for report in reports for child, reason in report.missing.items()}
            for child, reason in missing.items():  # two items may depend on the same one
                self._remake_once(child, reason)
            unfinished = {report.result for report in reports if report.missing}
            items = [item for item in items if item.result in unfinished]

    def _reports(self, items: Sequence[Derived]) -> list[DerivedReport]:
        """Run some items once."""
        reports = []
        try:
            for report in self.run.pool.run(items, lambda _: None, self.run.replan):
                reports.append(report)
                if not report.missing and report.result not in self._remade:
                    self._derived.add(report.result)
                    self.run.watch.advance(len(self._derived))
        except OutOfMemory as error:  # smaller batches would not help
            raise MemoryTaken(f"{error}, while shard results were combined") from error
        return reports

    def _remake_once(self, child: str, reason: str) -> None:
        if child in self._remade:
            raise DamagedFile(f"{self.run.root.path(child)} cannot be read, although it was computed again: {reason}")
        self._remade.add(child)
        self.remake(self._by_result[child])
