"""Shards: units of work, of retry and of reuse. Takes positions in a manifest, gives small values to send to actors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar, cast

import numpy as np

from workers.core.topk import Rows
from workers.store import paths


@dataclass(frozen=True, order=True)
class Shard:
    """Images [start, stop) of a manifest, and the name of their result.

    Attributes:
        start: first image index, a multiple of the batch size.
        stop: image index after the last.
        manifest: path of the manifest relative to the root.
        result: path of the result relative to the root; its name is the hash of all that the result depends on.
    """

    start: int
    stop: int
    manifest: str
    result: str

    @property
    def shards(self) -> "tuple[Shard, ...]":
        """The shard itself; see `ShardBatch.shards`."""
        return (self,)

    def map(self, change: Callable[[Any], Any]) -> Self:
        """The shard after a change; see `ShardBatch.map`."""
        return cast(Self, change(self))

    def renamed(self, rows: str) -> Self:
        """The same shard, with its result named by the hash `rows` of its rows."""
        return replace(self, result=paths.shard_path(paths.configuration_of(self.result), rows))


ShardType = TypeVar("ShardType", bound=Shard)


@dataclass(frozen=True, order=True)
class Restart(Shard):
    """One image, and one restart of its inversion.

    Attributes:
        restart: number of the restart, from 0.
        slot: position in the batch, on which the last bits of the numbers can depend.
    """

    restart: int
    slot: int

    def renamed(self, rows: str) -> Self:
        """The same restart, with its result named by the hash `rows` of its rows."""
        return replace(
            self, result=paths.shard_path(paths.configuration_of(self.result), rows, self.restart, self.slot)
        )


@dataclass(frozen=True, order=True)
class TopUnit:
    """A unit in a scan's table `top`: its layer, channel, rank, location and score."""

    layer_index: int
    channel: int
    rank: int
    y: int
    x: int
    score: float


@dataclass(frozen=True, order=True)
class ImageUnits(Shard):
    """One image, and some of its units.

    Attributes:
        units: the units, sorted by layer, channel and rank.
        mark: hash of the units.
    """

    units: tuple[TopUnit, ...]
    mark: str

    def renamed(self, rows: str) -> Self:
        """The same units, with their result named by the hash `rows` of their rows."""
        return replace(self, result=paths.shard_path(paths.configuration_of(self.result), rows, self.mark))


@dataclass(frozen=True, order=True)
class CheckpointShard(Shard):
    """Images for one checkpoint of a training.

    Attributes:
        checkpoint: number of the checkpoint, from 0.
    """

    checkpoint: int


@dataclass(frozen=True)
class ShardBatch(Generic[ShardType]):
    """Shards that run together. The batch is the unit of work and retry, each shard the unit of reuse.

    Attributes:
        shards: the shards.
    """

    shards: tuple[ShardType, ...]

    @property
    def start(self) -> int:
        """The first image index."""
        return self.shards[0].start

    @property
    def stop(self) -> int:
        """The image index after the last."""
        return self.shards[-1].stop

    def map(self, change: Callable[[Any], Any]) -> Self:
        """The same work with a change applied to each shard."""
        return replace(self, shards=tuple(change(shard) for shard in self.shards))


@dataclass(frozen=True)
class InversionBatch(ShardBatch[Restart]):
    """Restarts that are inverted together, sorted by slot.

    Attributes:
        layer: name of the inverted layer.
    """

    layer: str


@dataclass(frozen=True)
class CheckpointBatch(ShardBatch[CheckpointShard]):
    """The same images for several checkpoints, decoded once."""


@dataclass(frozen=True)
class Merge:
    """Results of shards, or of other merges, that become one.

    Attributes:
        start: first image index of the first shard.
        stop: image index after the last shard.
        result: path of the result relative to the root; its name is the hash of its children and of k.
        children: paths of the results that are merged, in the order of their images.
        k: number of images kept per channel.
    """

    start: int
    stop: int
    result: str
    children: tuple[str, ...]
    k: int


@dataclass(frozen=True)
class Account:
    """Images [start, stop) of a manifest, whose rows of `images`, `rejects` and `predictions` are to be written.

    Attributes:
        start: first image index.
        stop: image index after the last.
        result: path of the result relative to the root; its name is the hash of all that it depends on.
        manifest: path of the manifest relative to the root.
        shards: the shards that contain these images, in order. The first and the last may contain others, too.
        pyarrow: the version of pyarrow that writes the files.
        class_names: names of the classes, for predictions; empty if there are none.
    """

    start: int
    stop: int
    result: str
    manifest: str
    shards: tuple[Shard, ...]
    pyarrow: str
    class_names: tuple[str, ...] = ()

    @property
    def children(self) -> tuple[str, ...]:
        """Paths of the results that it depends on."""
        return tuple(shard.result for shard in self.shards)


@dataclass(frozen=True)
class Narrow:
    """A shard whose result is a part of another one, of a scan of more layers.

    Attributes:
        start: first image index.
        stop: image index after the last.
        result: path of the result relative to the root.
        wider: path of the result that it is a part of.
        layers: indices of its layers.
    """

    start: int
    stop: int
    result: str
    wider: str
    layers: tuple[int, ...]

    @property
    def children(self) -> tuple[str, ...]:
        """Paths of the results that it depends on."""
        return (self.wider,)


@dataclass(frozen=True)
class ChannelBatch:
    """Channels of a layer that are one item of work: they get synthetic images together, or are embedded together.

    Attributes:
        layer: name of the layer.
        channels: the channels, ascending.
        result: path of the result relative to the root; its name is the hash of all that it depends on.
    """

    layer: str
    channels: tuple[int, ...]
    result: str


Derived = Merge | Account | Narrow
Work = Shard | ShardBatch[Any]


def log_fields(item: object) -> dict[str, object]:
    """The fields of a log line about some work: its images, and the name or number of its results."""
    if isinstance(item, Shard | Group | Derived):
        return {"shard": f"{item.start}-{item.stop}", "result": item.result}
    if isinstance(item, ShardBatch):
        layer = {"layer": item.layer} if isinstance(item, InversionBatch) else {}
        results = {"results": len(item.shards), "result": item.shards[0].result}
        return {"shard": f"{item.start}-{item.stop}", **layer, **results}
    if isinstance(item, ChannelBatch):
        first, last, count = item.channels[0], item.channels[-1], len(item.channels)
        numbers = f"{first}-{last}" if 1 < count == last - first + 1 else ",".join(map(str, item.channels))
        return {"batch": numbers, "layer": item.layer, "result": item.result}
    return {"item": str(item)}


@dataclass(frozen=True, eq=False)
class Group:
    """All rows of `top` with images in one shard: the unit of work of the second pass.

    Attributes:
        start: first image index of the shard.
        stop: image index after its last.
        manifest: path of the manifest relative to the root.
        result: path of the group's result relative to the root.
        rows: the rows, in the order of `top`.
        rank: rank of each row within its channel.
        scales: by layer index, the largest magnitude of the run's scores, to compare the two passes by.
        tolerances: by layer index, a difference that is always accepted: the measured cost of half precision.
        hashes: by image index, the SHA-256 of the file that was scanned.
    """

    start: int
    stop: int
    manifest: str
    result: str
    rows: Rows
    rank: np.ndarray[Any, Any]
    scales: Mapping[int, float]
    tolerances: Mapping[int, float]
    hashes: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class CheckpointGroup(Group):
    """A group of one checkpoint of a training.

    Attributes:
        checkpoint: number of the checkpoint, from 0.
    """

    checkpoint: int
