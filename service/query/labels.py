"""Channels by label. Takes a scan and a label, gives the channels whose top images have it."""

from dataclasses import dataclass

import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read
from service.query.telling import Overview
from workers.errors import QueryError, nearest
from workers.store.tables.scan import TOP
from workers.store.tables.shared import IMAGES

LARGEST_COMPARED = 2000  # labels that are searched for the nearest one: a million takes minutes


@dataclass(frozen=True)
class Labelled:
    """A channel: of `top` top images with a positive score, `images` have the label. For `selectivity`, see `telling`."""

    layer: str
    layer_index: int
    channel: int
    images: int
    top: int
    selectivity: float


def labelled(run: PublishedRun, overview: Overview, label: str, layer: str | None = None) -> tuple[Labelled, ...]:
    """The channels with a label among their top images, ordered by its share, then by selectivity, largest first.

    Args:
        run: the scan.
        overview: its channels.
        label: the label.
        layer: only channels of this layer; by default, of all layers.

    Raises:
        QueryError: no image of the run has the label, or it has no such layer.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    key = ["layer", "layer_index", "channel"]
    is_wanted = pc.field("score") > 0
    if layer is not None:
        is_wanted &= pc.field("layer_index") == run.layer(layer).index
    top = read(run, TOP, is_wanted, [*key, "label"])
    top = top.append_column("has", pc.equal(top["label"], label))
    counts = top.group_by(key).aggregate([("has", "sum"), ("has", "count", pc.CountOptions(mode="all"))])
    channels = [
        Labelled(
            row["layer"],
            row["layer_index"],
            row["channel"],
            row["has_sum"],
            row["has_count"],
            overview.find(row["layer_index"], row["channel"]).selectivity,
        )
        for row in counts.to_pylist()
        if row["has_sum"]
    ]
    if not channels and label not in (known := labels(run)):
        way_out = nearest(label, known[:LARGEST_COMPARED])
        raise QueryError(f"no image of run {run.run!r} has the label {label!r}; {way_out}")
    return tuple(
        sorted(channels, key=lambda row: (-row.images / row.top, -row.selectivity, row.layer_index, row.channel))
    )


def labels(run: PublishedRun) -> tuple[str, ...]:
    """All labels of a run's images, in alphabetical order."""
    names = pc.unique(read(run, IMAGES, pc.scalar(True), ["label"])["label"])
    return tuple(sorted(names.drop_null().to_pylist()))
