"""Cut a corpus into shards. Takes a manifest and what is already done, gives work; writes nothing."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from workers.actors.job import rows_key
from workers.actors.shard import Shard, ShardType, Work
from workers.corpus import isolate, manifest
from workers.corpus.lister import GROUP_ROWS
from workers.corpus.manifest import Row
from workers.store import paths
from workers.store.root import Root


@dataclass(frozen=True)
class Plan:
    """The work of a run, in order, and what of it is not done yet.

    Attributes:
        works: all of it: shards, or batches of them.
        todo: work of which a result does not exist.
        images: images to look at.
    """

    works: tuple[Work, ...]
    todo: tuple[Work, ...]
    images: int

    @property
    def shards(self) -> tuple[Shard, ...]:
        """Every shard of the work, in order."""
        return tuple(shard for work in self.works for shard in work.shards)

    @property
    def running(self) -> int:
        """How many shards the work to do has."""
        return sum(len(work.shards) for work in self.todo)


def plan(root: Root, listed: str, configuration: str, shard_size: int, listed_in: Root | None = None) -> Plan:
    """Name every shard's result by what it depends on, and see which of them are there.

    Args:
        root: where results lie.
        listed: path of the manifest under the root.
        configuration: hash of everything else that a result depends on.
        shard_size: images per shard.
        listed_in: where the manifest lies, if not under the root.
    """
    done = root.files(paths.shard_folder(configuration))
    verdicts = root.files(paths.VERDICTS)
    shards, images = [], 0
    for rows in manifest.stream(listed_in or root, listed, shard_size):
        shards.append(_shard(root, listed, configuration, rows, verdicts))
        images += sum(not row.removed for row in rows)
    todo = tuple(shard for shard in shards if shard.result.rpartition("/")[2] not in done)
    return Plan(tuple(shards), todo, images)


def singles(
    root: Root, listed: str, configuration: str | Callable[[Row], str], wanted: Sequence[str], sample: int
) -> Plan:
    """A shard for each of some images: those of these ids, or a sample that depends on the ids of the corpus alone.

    `configuration` is the hash of all else that a result depends on, or gives that of an image's result.
    """
    rows, verdicts = chosen(root, listed, wanted, sample), root.files(paths.VERDICTS)
    named = configuration if callable(configuration) else lambda _: configuration
    shards = tuple(_shard(root, listed, named(row), [row], verdicts) for row in rows)
    folders = {paths.shard_folder(paths.configuration_of(shard.result)) for shard in shards}
    done = {f"{folder}/{name}" for folder in folders for name in root.files(folder)}
    todo = tuple(shard for shard in shards if shard.result not in done)
    return Plan(shards, todo, len(rows))


def chosen(root: Root, listed: str, wanted: Sequence[str], sample: int) -> list[Row]:
    """The rows of some images: those of these ids, or a sample that depends on the ids of the corpus alone."""
    every = [row for rows in manifest.stream(root, listed, GROUP_ROWS) for row in rows if not row.removed]
    named = frozenset(wanted)
    return [row for row in every if row.image_id in named] if named else _sampled(every, sample)


def renamed(root: Root, shard: ShardType) -> ShardType:
    """The shard again, named by the verdicts that are known now."""
    rows = manifest.rows(root, shard.manifest, shard.start, shard.stop)
    return shard.renamed(rows_key(rows, isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))))


def _sampled(rows: Sequence[Row], sample: int) -> list[Row]:
    """The rows whose ids have the smallest hashes, in the order of the manifest: new images replace few of them."""
    first = sorted(rows, key=lambda row: hashlib.sha256(row.image_id.encode()).digest())[:sample]
    return sorted(first, key=lambda row: row.image_index)


def _shard(root: Root, listed: str, configuration: str, rows: list[Row], verdicts: Collection[str]) -> Shard:
    known = isolate.read_verdicts(root, rows, verdicts)
    result = paths.shard_path(configuration, rows_key(rows, known))
    return Shard(rows[0].image_index, rows[-1].image_index + 1, listed, result)
