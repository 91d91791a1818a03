"""What channels have in common. Takes scans, gives channels of one label, and two scans' channels side by side."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.compute as pc

from service.catalog import PublishedRun
from service.query.layers import LayerTables
from service.query.reading import read
from workers.errors import QueryError, nearest
from workers.store.schema import IMAGES, TOP

LIKELY = 2000  # labels that a wrong one is compared with; with a million others it takes minutes


@dataclass(frozen=True)
class Labelled:
    """A channel, and how many of the top images that wake it have a label; `top` are all of these."""

    layer: str
    layer_index: int
    channel: int
    images: int
    top: int


@dataclass(frozen=True)
class Pair:
    """The same channel of two scans.

    Attributes:
        channel: its number in both.
        shared: top images that wake both, by image id.
        overlap: the same as a share of the larger of both; None where nothing wakes either.
    """

    channel: int
    shared: int
    overlap: float | None


def labelled(run: PublishedRun, label: str) -> tuple[Labelled, ...]:
    """The channels of all layers that have a label among their top images, those first that have most.

    Raises:
        QueryError: no image of the run has the label.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    key = ["layer", "layer_index", "channel"]
    top = read(
        run, TOP, pc.field("score") > 0, {**{name: pc.field(name) for name in key}, "has": pc.field("label") == label}
    )
    counted = top.group_by(key).aggregate([("has", "sum"), ("has", "count", pc.CountOptions(mode="all"))])
    found = [
        Labelled(row["layer"], row["layer_index"], row["channel"], row["has_sum"], row["has_count"])
        for row in counted.to_pylist()
        if row["has_sum"]
    ]
    if not found and label not in (known := labels(run)):
        raise QueryError(f"no image of run {run.run!r} has the label {label!r}; {nearest(label, known[:LIKELY])}")
    return tuple(sorted(found, key=lambda each: (-each.images / each.top, each.layer_index, each.channel)))


def labels(run: PublishedRun) -> tuple[str, ...]:
    """All labels of a run's images, by name."""
    found = pc.unique(read(run, IMAGES, pc.field("label").is_valid(), ["label"])["label"])
    return tuple(sorted(found.to_pylist()))


def beside(one: LayerTables, other: LayerTables) -> Iterator[Pair]:
    """Each channel that a layer of two scans of one corpus has in both, and how many top images it shares with itself."""
    for channel in range(min(one.layer.channels, other.layer.channels)):
        ids = [tables.awake(channel) for tables in (one, other)]
        shared, larger = len(ids[0] & ids[1]), max(map(len, ids))
        yield Pair(channel, shared, shared / larger if larger else None)


def check_comparable(one: PublishedRun, other: PublishedRun) -> None:
    """Refuse to compare images of two corpora: an id elsewhere is another image.

    Raises:
        QueryError: the runs have different corpora.
    """
    if one.corpus != other.corpus:
        told = f"{one.run!r} is over {one.corpus!r}, {other.run!r} over {other.corpus!r}"
        raise QueryError(f"top images can be compared within one corpus only: {told}")
