"""Reports of actors on finished work. Takes nothing, gives small values to send to the driver."""

from dataclasses import dataclass

from workers.actors.shard import Work


@dataclass(frozen=True)
class ShardReport:
    """An actor's report on a finished shard.

    Attributes:
        work: the shard, or a batch of shards.
        images: number of images scanned.
        rejects: number of images not used, by reason.
        seconds: total time.
        wait_s: the part spent waiting for decoded images.
        store_s: the part spent writing the result.
    """

    work: Work
    images: int
    rejects: dict[str, int]
    seconds: float
    wait_s: float
    store_s: float


@dataclass(frozen=True)
class GroupReport:
    """An actor's report on a finished group or batch of channels: its result, numbers of rows and images, and its total time."""

    result: str
    rows: int
    images: int
    seconds: float
