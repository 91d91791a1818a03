"""Cut a corpus into shards. Takes a manifest and the results that exist, gives the work of a run; writes nothing."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import pyarrow.compute as pc

from workers.actors.shard import Group, Shard, ShardBatch, ShardType, Work
from workers.corpus import isolate, manifest
from workers.corpus.lister import GROUP_ROWS
from workers.corpus.manifest import Row
from workers.corpus.row_keys import row_key, rows_key
from workers.corpus.suspects import Suspects
from workers.store import paths
from workers.store.root import Root


class Named(Protocol):
    """An item of work with one result."""

    @property
    def result(self) -> str:
        """Path of the result relative to the root."""


NamedType = TypeVar("NamedType", bound=Named)


@dataclass(frozen=True)
class Plan:
    """The work of a run, in order, and the part that remains.

    Attributes:
        works: all work: shards, or batches of shards.
        todo: work with a missing result.
        images: number of images.
        removed: number of images in a shard that are no longer in the corpus, by its first image index; without zeros.
    """

    works: tuple[Work, ...]
    todo: tuple[Work, ...]
    images: int
    removed: Mapping[int, int] = field(default_factory=dict)

    @property
    def shards(self) -> tuple[Shard, ...]:
        """Every shard of the work, in order."""
        return tuple(shard for work in self.works for shard in work.shards)

    @property
    def shards_to_run(self) -> int:
        """Number of shards in `todo`."""
        return sum(len(work.shards) for work in self.todo)

    @property
    def images_to_run(self) -> int:
        """Number of images in the shards of `todo`."""
        shards = [shard for work in self.todo for shard in work.shards]
        return sum(shard.stop - shard.start - self.removed.get(shard.start, 0) for shard in shards)


def plan(root: Root, listed: str, configuration: str, shard_size: int, listed_in: Root | None = None) -> Plan:
    """Cut a manifest into shards, name their results by hash, and find the missing ones.

    Args:
        root: where results are stored.
        listed: path of the manifest under the root.
        configuration: hash of everything but the images that a result depends on.
        shard_size: images per shard.
        listed_in: root that holds the manifest, if it is not `root`.
    """
    suspects, shards, images, removed, start = Suspects.of(root), list[Shard](), 0, Counter[int](), 0
    for part in manifest.tables(listed_in or root, listed, shard_size):
        stop = start + len(part)
        result = paths.shard_path(configuration, rows_key(part, start, suspects.verdicts(part, start)))
        shards.append(Shard(start, stop, listed, result))
        removed[start] = pc.sum(part["removed"]).as_py()
        images, start = images + len(part) - removed[start], stop
    return Plan(tuple(shards), tuple(missing(root, shards)), images, +removed)


def missing(root: Root, items: Iterable[NamedType]) -> list[NamedType]:
    """The items whose results do not exist, in order, from one listing of each configuration's results."""
    every = list(items)
    folders = {paths.shard_folder(paths.configuration_of(item.result)) for item in every}
    done = {f"{folder}/{name}" for folder in folders for name in root.files(folder)}
    return [item for item in every if item.result not in done]


def grouped(planned: Plan, count: int) -> Plan:
    """The plan with up to `count` consecutive shards of `todo` in one item.

    An actor reads ahead and writes results while it computes, but not beyond an item. On a CPU that is negligible.
    """
    parts = [planned.todo[start : start + count] for start in range(0, len(planned.todo), count)]
    works = tuple(ShardBatch(tuple(shard for work in part for shard in work.shards)) for part in parts)
    return planned if count == 1 else replace(planned, todo=works)


def plan_images(
    root: Root, listed: str, configuration: str | Callable[[Row], str], wanted: Sequence[str], sample: int
) -> Plan:
    """One shard for each image that `select_rows` selects.

    `configuration` is the hash of everything but the image that a result depends on, or computes it from an image's row.
    """
    rows = select_rows(root, listed, wanted, sample)
    verdicts = isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))
    configure = configuration if callable(configuration) else lambda _: configuration
    shards = tuple(
        Shard(row.image_index, row.image_index + 1, listed, paths.shard_path(configure(row), row_key(row, verdicts)))
        for row in rows
    )
    return Plan(shards, tuple(missing(root, shards)), len(rows))


def select_rows(root: Root, listed: str, wanted: Sequence[str], sample: int) -> list[Row]:
    """The manifest's rows of the wanted image ids; without any, a sample that depends only on the ids in the corpus."""
    every = (row for rows in manifest.stream(root, listed, GROUP_ROWS) for row in rows if not row.removed)
    ids = frozenset(wanted)
    return [row for row in every if row.image_id in ids] if ids else _sample_rows(every, sample)


def unjudged_rows(root: Root, listed: str, start: int, stop: int) -> list[Row]:
    """The manifest's rows [start, stop) that have no verdict."""
    rows = manifest.rows(root, listed, start, stop)
    verdicts = isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))
    return [row for row in rows if row.image_index not in verdicts]


def rename_result(root: Root, shard: ShardType) -> ShardType:
    """The shard with its result renamed after the verdicts that are known now."""
    listed = manifest.table(root, shard.manifest, shard.start, shard.stop)
    rows = manifest.rows_of(listed, shard.start)
    verdicts = isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))
    return shard.renamed(rows_key(listed, shard.start, verdicts))


def _sample_rows(rows: Iterable[Row], sample: int) -> list[Row]:
    """The rows whose ids have the smallest hashes, in manifest order. New images change few of them."""
    first = heapq.nsmallest(sample, rows, key=lambda row: hashlib.sha256(row.image_id.encode()).digest())
    return sorted(first, key=lambda row: row.image_index)


def spans_of(item: Work | Group) -> list[tuple[str, int, int]]:
    """The manifest and rows [start, stop) of an item's images, each span once."""
    parts: Sequence[Shard | Group] = [item] if isinstance(item, Group) else item.shards
    return sorted({(part.manifest, part.start, part.stop) for part in parts})
