"""Merging of shard results into one, by actors. Takes shards in order, gives a tree of merges and the result at its root.

Each merge takes up to 16 results, and its own is named by the hash of theirs. So if a corpus grows by one shard, only the merges
on the way from that shard to the root run again. The tree, and with it the order in which sums are folded, depends on the
shards alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.run.attempt import Attempt
from jobs.run.results import StoredResults
from workers.actors.job import digest
from workers.actors.merge import MERGE_ALGORITHM, MergeReport
from workers.actors.shard import Merge, Shard, log_fields
from workers.errors import DamagedFile, MemoryTaken, OutOfMemory
from workers.store import paths

WIDTH = 16  # results that one merge takes


@dataclass(frozen=True)
class Tree:
    """The merges of a run.

    Attributes:
        shards: the shards, in the order of their images.
        levels: the merges, from those of shards to the one at the root; empty if there is a single shard.
    """

    shards: tuple[Shard, ...]
    levels: tuple[tuple[Merge, ...], ...]

    @classmethod
    def over(cls, shards: Sequence[Shard], k: int) -> "Tree":
        """The tree over some shards, of which each channel keeps k images."""
        nodes: Sequence[Shard | Merge] = shards
        levels = list[tuple[Merge, ...]]()
        while len(nodes) > 1:
            levels.append(tuple(_merge(nodes[start : start + WIDTH], k) for start in range(0, len(nodes), WIDTH)))
            nodes = levels[-1]
        return cls(tuple(shards), tuple(levels))

    @property
    def root(self) -> Shard | Merge:
        """The node whose result is that of all shards."""
        return self.levels[-1][0] if self.levels else self.shards[0]

    @property
    def merges(self) -> Iterator[Merge]:
        """All merges, level by level."""
        return (merge for level in self.levels for merge in level)


def _merge(children: Sequence[Shard | Merge], k: int) -> Merge:
    names = tuple(child.result for child in children)
    name = digest(["merge", MERGE_ALGORITHM, k, *names])
    return Merge(children[0].start, children[-1].stop, paths.merge_path(name), names, k)


@dataclass
class Merging:
    """Runs the missing merges of a tree.

    Attributes:
        run: the attempt; its actors can merge.
        tree: the tree.
        stored: the results of the shards.
    """

    run: Attempt[Any]
    tree: Tree
    stored: StoredResults
    _by_result: dict[str, Shard | Merge] = field(default_factory=dict)
    _merged: set[str] = field(default_factory=set)
    _remade: set[str] = field(default_factory=set)

    def finish(self) -> None:
        """Run the missing merges, level by level.

        Raises:
            DamagedFile: a result cannot be read, although it was made again.
            MemoryTaken: an actor has too little memory for a merge.
        """
        nodes: list[Shard | Merge] = [*self.tree.shards, *self.tree.merges]
        self._by_result = {node.result: node for node in nodes}
        folder = paths.shard_folder(paths.MERGES)
        done = {f"{folder}/{name}" for name in self.run.root.files(folder)} if self.tree.levels else set()
        todo = [[merge for merge in level if merge.result not in done] for level in self.tree.levels]
        if any(todo):
            self.run.watch.phase("reduce", sum(map(len, todo)), "merges")
        for level in todo:
            self._run(level)

    def remake(self, node: Shard | Merge) -> None:
        """Run a node again whose result is missing or damaged."""
        if isinstance(node, Merge):
            self.run.watch.say(f"{node.result} is missing or damaged; merging again", **log_fields(node))
            self._run([node])
        else:
            self.stored.remake(node)

    def _run(self, merges: Sequence[Merge]) -> None:
        """Run some merges. A child that is missing or damaged is made again first."""
        while merges:
            reports = self._reports(merges)
            for report in reports:
                for child, reason in report.missing.items():
                    self._remake_once(child, reason)
            unfinished = {report.result for report in reports if report.missing}
            merges = [merge for merge in merges if merge.result in unfinished]

    def _reports(self, merges: Sequence[Merge]) -> list[MergeReport]:
        """Run some merges once."""
        reports = []
        try:
            for report in self.run.pool.run(merges, lambda _: None, self.run.replan):
                reports.append(report)
                if not report.missing and report.result not in self._remade:
                    self._merged.add(report.result)
                    self.run.watch.advance(len(self._merged))
        except OutOfMemory as error:  # smaller batches would not help
            raise MemoryTaken(f"{error}, while shard results were merged") from error
        return reports

    def _remake_once(self, child: str, reason: str) -> None:
        if child in self._remade:
            raise DamagedFile(f"{self.run.root.path(child)} cannot be read, although it was made again: {reason}")
        self._remade.add(child)
        self.remake(self._by_result[child])
