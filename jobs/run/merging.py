"""Merging of shard results into one, by actors. Takes shards in order, gives a tree of merges.

Each merge takes up to 16 results, and its own is named by the hash of theirs. So if a corpus grows by one shard, only the merges
on the way from that shard to the root run again. The tree, and with it the order in which sums are folded, depends on the
shards alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workers.actors.job import digest
from workers.actors.merge import MERGE_ALGORITHM
from workers.actors.shard import Merge, Shard
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
