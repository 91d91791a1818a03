"""The unit of work, of retry and of reuse. Takes positions in a manifest, gives a value that travels in a few bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar, cast

import numpy as np

from workers.core.topk import Rows
from workers.store import paths


@dataclass(frozen=True, order=True)
class Shard:
    """Images [start, stop) of the manifest at `manifest` (a path under the root), and the name of their result.

    Attributes:
        start: first image index, a multiple of the batch.
        stop: image index behind the last.
        manifest: path of the manifest relative to the root.
        result: path of the shard's result relative to the root; it is named by its content's causes.
    """

    start: int
    stop: int
    manifest: str
    result: str

    @property
    def shards(self) -> "tuple[Shard, ...]":
        """Itself: a shard is work that gives one result."""
        return (self,)

    def changed(self, change: Callable[[Any], Any]) -> Self:
        """What a change makes of it; see `ShardBatch.changed`."""
        return cast(Self, change(self))

    def named(self, rows: str) -> Self:
        """The same shard, its result named by another hash of rows."""
        return replace(self, result=paths.shard_path(paths.configuration_of(self.result), rows))


ShardType = TypeVar("ShardType", bound=Shard)


@dataclass(frozen=True, order=True)
class Restart(Shard):
    """One image, and one beginning of its inversions.

    Attributes:
        restart: number of the beginning, from 0.
        slot: its place in its batch, on which the last bits of its numbers can depend.
    """

    restart: int
    slot: int

    def named(self, rows: str) -> Self:
        """The same restart, its result named by another hash of rows."""
        return replace(
            self, result=paths.shard_path(paths.configuration_of(self.result), rows, self.restart, self.slot)
        )


@dataclass(frozen=True, order=True)
class TopUnit:
    """A unit as a scan's `top` has it: its layer, place, image's rank in its channel, and the score."""

    layer_index: int
    channel: int
    rank: int
    y: int
    x: int
    score: float


@dataclass(frozen=True, order=True)
class ImageUnits(Shard):
    """One image, and some units in it.

    Attributes:
        units: by layer, channel and rank.
        mark: hash of the units.
    """

    units: tuple[TopUnit, ...]
    mark: str

    def named(self, rows: str) -> Self:
        """The same units, their result named by another hash of rows."""
        return replace(self, result=paths.shard_path(paths.configuration_of(self.result), rows, self.mark))


@dataclass(frozen=True, order=True)
class CheckpointShard(Shard):
    """Images as one checkpoint of a training sees them.

    Attributes:
        checkpoint: number of the checkpoint, from 0.
    """

    checkpoint: int


@dataclass(frozen=True)
class ShardBatch(Generic[ShardType]):
    """Shards that run together: the unit of work and of retry; the unit of reuse is one of them.

    Attributes:
        shards: what runs.
    """

    shards: tuple[ShardType, ...]

    @property
    def start(self) -> int:
        """The first image index."""
        return self.shards[0].start

    @property
    def stop(self) -> int:
        """The image index behind the last."""
        return self.shards[-1].stop

    def changed(self, change: Callable[[Any], Any]) -> Self:
        """The same work with each shard changed."""
        return replace(self, shards=tuple(change(shard) for shard in self.shards))


@dataclass(frozen=True)
class InversionBatch(ShardBatch[Restart]):
    """Restarts, by slot, that are inverted together.

    Attributes:
        layer: name of the layer that is inverted.
    """

    layer: str


@dataclass(frozen=True)
class CheckpointBatch(ShardBatch[CheckpointShard]):
    """The same images for several checkpoints: they are decoded once."""


Work = Shard | InversionBatch | CheckpointBatch


def about(item: object) -> dict[str, object]:
    """What a log's line about some work carries: the images of its shard, and its result's name or how many it has."""
    if isinstance(item, Shard | Group):
        return {"shard": f"{item.start}-{item.stop}", "result": item.result}
    if isinstance(item, ShardBatch):
        layer = {"layer": item.layer} if isinstance(item, InversionBatch) else {}
        told = {**layer, "results": len(item.shards), "result": item.shards[0].result}
        return {"shard": f"{item.start}-{item.stop}", **told}
    return {"item": str(item)}


@dataclass(frozen=True, eq=False)
class Group:
    """All rows of `top` whose image lies in one shard: the unit of work of the second pass.

    Attributes:
        start: first image index of the shard.
        stop: image index behind its last.
        manifest: path of the manifest relative to the root.
        result: path of the group's result relative to the root.
        rows: the rows, sorted as `top` is.
        rank: rank of each row within its channel.
        scales: by layer index the largest magnitude of the run's scores; both passes are held to each other by it.
    """

    start: int
    stop: int
    manifest: str
    result: str
    rows: Rows
    rank: np.ndarray[Any, Any]
    scales: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class CheckpointGroup(Group):
    """Such rows of one checkpoint of a training.

    Attributes:
        checkpoint: number of the checkpoint, from 0.
    """

    checkpoint: int


@dataclass(frozen=True)
class ShardReport:
    """What a driver is told about a finished shard.

    Attributes:
        work: the shard, or a batch of them.
        images: images scanned.
        rejects: images not used, by reason.
        seconds: time that it took.
        wait_s: of it, time spent waiting for decoded images.
        store_s: of it, time spent writing the result.
    """

    work: Work
    images: int
    rejects: dict[str, int]
    seconds: float
    wait_s: float
    store_s: float
