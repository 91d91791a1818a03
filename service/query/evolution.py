"""Features during training. Takes an evolution run, gives the course of each layer and the strips of its channels."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read, row
from service.query.scans import PlacedCell
from workers.errors import QueryError
from workers.spec.evolve import checkpoint_name
from workers.store.facts import LayerFacts
from workers.store.tables.evolve import EVOLUTION

_FRAME = ("checkpoint", "score", "overlap", "same_as", "image_id", "label")


@dataclass(frozen=True)
class Course:
    """How a layer approaches its state at the last checkpoint.

    Attributes:
        layer: the layer.
        overlap: for each checkpoint, the mean over channels of the share of top images in common with the last checkpoint.
        settled: for each checkpoint, the share of channels that have settled by then.
        median: checkpoint by which half of the living channels have settled; None if all are dead.
        dead: number of channels that no image activates at the last checkpoint.
    """

    layer: LayerFacts
    overlap: tuple[float | None, ...]
    settled: tuple[float, ...]
    median: int | None
    dead: int


@dataclass(frozen=True)
class Frame:
    """A channel at one checkpoint: its strongest image.

    Attributes:
        number: number of the row in the table, which identifies its pictures.
        checkpoint: number of the checkpoint.
        score: the channel's largest activation.
        overlap: share of top images in common with the last checkpoint; None if no image activates the channel at either.
        same_as: earlier checkpoint with the same layer, or None.
        image_id: id of the image.
        label: label of the image.
    """

    number: int
    checkpoint: int
    score: float
    overlap: float | None
    same_as: int | None
    image_id: str
    label: str | None


@dataclass(frozen=True)
class Strip:
    """A channel at all checkpoints; `settled_since` is None if no image activates it at the last one."""

    channel: int
    settled_since: int | None
    frames: tuple[Frame, ...]

    @property
    def change(self) -> tuple[bool, float, float]:
        """Smaller for a channel that changed more: its overlap at the first checkpoint, and then the sum over checkpoints.

        Channels that no image activates at the first and at the last checkpoint are the largest.
        """
        first = self.frames[0].overlap
        return first is None, first or 0.0, sum(frame.overlap or 0.0 for frame in self.frames)


def checkpoints(run: PublishedRun) -> tuple[str, ...]:
    """The names of the checkpoints, in training order."""
    first = run.layers[0]
    is_channel = (pc.field("layer_index") == first.index) & (pc.field("channel") == 0)
    return tuple(read(run, EVOLUTION, is_channel, ["checkpoint_name"])["checkpoint_name"].to_pylist())


def diverged(run: PublishedRun) -> tuple[str, ...]:
    """The names of the checkpoints whose weights diverged, so that they have no rows, in training order."""
    files = run.sections.evolve.checkpoints if run.sections.evolve else ()
    return tuple((Counter(map(checkpoint_name, files)) - Counter(checkpoints(run))).elements())


def courses(run: PublishedRun) -> tuple[Course, ...]:
    """The course of every layer, in the order of the graph.

    Raises:
        QueryError: the run is not an evolution run.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    _require_evolution(run)
    columns = ["layer_index", "checkpoint", "overlap", "settled_since"]
    table = read(run, EVOLUTION, pc.scalar(True), columns)
    return tuple(_course(layer, table.filter(pc.equal(table["layer_index"], layer.index))) for layer in run.layers)


def strips(run: PublishedRun, layer: str, channels: Collection[int] | None = None) -> tuple[Strip, ...]:
    """Channels of a layer at all checkpoints, in the given order; by default all channels, by number.

    Raises:
        QueryError: the run is not an evolution run, or lacks the layer or a channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    _require_evolution(run)
    about = run.layer(layer)
    columns = ["channel", "settled_since", *_FRAME]
    rows = read(run, EVOLUTION, pc.field("layer_index") == about.index, columns).to_pylist()
    first, checkpoint_count = _first_row(run, about), len(rows) // about.channels

    def strip(channel: int) -> Strip:
        numbers = range(channel * checkpoint_count, (channel + 1) * checkpoint_count)
        frames = tuple(Frame(first + n, **{name: rows[n][name] for name in _FRAME}) for n in numbers)
        return Strip(channel, rows[numbers[0]]["settled_since"], frames)

    return tuple(map(strip, range(about.channels) if channels is None else map(about.require_channel, channels)))


def most_changed(every: Iterable[Strip]) -> tuple[Strip, ...]:
    """Strips in another order: first the channels that share the fewest top images with the last checkpoint at the first one."""
    return tuple(sorted(every, key=lambda strip: (strip.change, strip.channel)))


def cells(run: PublishedRun, layer: str, channels: Sequence[int]) -> dict[int, tuple[PlacedCell, ...]]:
    """The patches and projections of some channels, by channel; a cell's `rank` is its checkpoint.

    Raises:
        QueryError: the run is not an evolution run, or lacks the layer or a channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    _require_evolution(run)
    about = run.layer(layer)
    is_channel = pc.field("channel").isin([about.require_channel(channel) for channel in channels])
    is_channel &= pc.field("layer_index") == about.index
    columns = {name: pc.field(*parts) for name, parts in _cell_columns().items()}
    rows = read(run, EVOLUTION, is_channel, columns).to_pylist()
    return {channel: tuple(PlacedCell(**row) for row in rows if row["channel"] == channel) for channel in channels}


def cell(run: PublishedRun, number: int) -> tuple[str, PlacedCell]:
    """The layer of a row, and its patch and projection.

    Raises:
        QueryError: the run is not an evolution run, or has no row of this number.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    _require_evolution(run)
    columns = _cell_columns()
    values = row(run, EVOLUTION, number, ["layer", *(parts[0] for parts in columns.values())])
    known = {name: values[column] for name, (column, *_) in columns.items()}
    pictures: dict[str, Any] = {name: (known[name] or {}).get("bytes") for name in ("patch", "projection")}
    return values["layer"], PlacedCell(**known | pictures)


def _cell_columns() -> dict[str, tuple[str, ...]]:
    """The columns of the table that the fields of a cell are in; pictures are parts of columns."""
    special = {"rank": ("checkpoint",), "patch": ("patch", "bytes"), "projection": ("projection", "bytes")}
    return {field.name: special.get(field.name, (field.name,)) for field in fields(PlacedCell)}


def _course(layer: LayerFacts, table: pa.Table) -> Course:
    count = pc.max(table["checkpoint"]).as_py() + 1
    overlap = table["overlap"].to_numpy().reshape(layer.channels, count)  # (channels, checkpoints); null is NaN
    since = table["settled_since"].to_numpy().reshape(layer.channels, count)[:, 0]  # (channels,)
    living = ~np.isnan(since)
    known = (~np.isnan(overlap)).any(axis=0)
    mean = [float(np.nanmean(overlap[:, number])) if known[number] else None for number in range(count)]
    settled = [float((since <= number).mean()) for number in range(count)]
    median = int(np.quantile(since[living], 0.5, method="inverted_cdf")) if living.any() else None
    return Course(layer, tuple(mean), tuple(settled), median, int((~living).sum()))


def _first_row(run: PublishedRun, layer: LayerFacts) -> int:
    """The number of a layer's first row: the table is sorted, and every channel has one row per checkpoint."""
    channels_before = sum(other.channels for other in run.layers if other.index < layer.index)
    rows, channels = sum(part.rows for part in run.tables[EVOLUTION.name]), sum(other.channels for other in run.layers)
    return channels_before * rows // channels


def _require_evolution(run: PublishedRun) -> None:
    if run.job != "evolve":
        raise QueryError(f"run {run.run!r} is of kind {run.job.value!r}; expected 'evolve'")
