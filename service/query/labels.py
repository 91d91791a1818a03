"""What channels have in common. Takes a scan, gives the channels of one label."""

from dataclasses import dataclass

import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.errors import QueryError, nearest
from workers.store.tables.scan import TOP
from workers.store.tables.shared import IMAGES

LIKELY = 2000  # labels that a wrong one is compared with; with a million others it takes minutes


@dataclass(frozen=True)
class Labelled:
    """A channel, and how many of the top images that wake it have a label; `top` are all of these."""

    layer: str
    layer_index: int
    channel: int
    images: int
    top: int


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
