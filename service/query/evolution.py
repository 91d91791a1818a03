"""Features over a training. Takes a run of checkpoints, gives each layer's course, and the strips of its channels."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read, row
from service.query.scans import Cell
from workers.errors import QueryError
from workers.spec.evolve import checkpoint_name
from workers.store.manifest import Layer
from workers.store.tables.evolve import EVOLUTION

_FRAME = ("checkpoint", "score", "overlap", "same_as", "image_id", "label")


@dataclass(frozen=True)
class Course:
    """How a layer comes to be what it is at the end.

    Attributes:
        layer: the layer.
        overlap: by checkpoint the mean over its channels of the share of top images in common with the last checkpoint.
        settled: by checkpoint the share of its channels that have settled by then.
        median: checkpoint by which half of its living channels have settled; None if none lives.
        dead: channels that nothing wakes at the last checkpoint.
    """

    layer: Layer
    overlap: tuple[float | None, ...]
    settled: tuple[float, ...]
    median: int | None
    dead: int


@dataclass(frozen=True)
class Frame:
    """A channel at one checkpoint: its strongest image.

    Attributes:
        number: row of the table, by which its pictures are asked for.
        checkpoint: number of the checkpoint.
        score: the channel's largest activation.
        overlap: share of the top images in common with the last checkpoint; None where nothing wakes it at either.
        same_as: checkpoint whose layer is the same, or None.
        image_id: the image.
        label: its label.
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
    """A channel over the training; `settled_since` is None where nothing wakes it at the last checkpoint."""

    channel: int
    settled_since: int | None
    frames: tuple[Frame, ...]


def checkpoints(run: PublishedRun) -> tuple[str, ...]:
    """The names of the checkpoints in their order."""
    first = run.layers[0]
    wanted = (pc.field("layer_index") == first.index) & (pc.field("channel") == 0)
    return tuple(read(run, EVOLUTION, wanted, ["checkpoint_name"])["checkpoint_name"].to_pylist())


def diverged(run: PublishedRun) -> tuple[str, ...]:
    """The names of the checkpoints that have no rows because their weights diverged, in the order of the training."""
    files = run.sections.evolve.checkpoints if run.sections.evolve else ()
    missing = Counter(map(checkpoint_name, files)) - Counter(checkpoints(run))
    return tuple(missing.elements())


def courses(run: PublishedRun) -> tuple[Course, ...]:
    """The course of every layer, in the order of the graph.

    Raises:
        QueryError: the run is no evolution.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    _check(run)
    columns = ["layer_index", "checkpoint", "overlap", "settled_since"]
    found = read(run, EVOLUTION, pc.scalar(True), columns)
    return tuple(_course(layer, found.filter(pc.equal(found["layer_index"], layer.index))) for layer in run.layers)


def strips(run: PublishedRun, layer: str, channels: Collection[int] | None = None) -> tuple[Strip, ...]:
    """Channels of a layer over the training, by number; all of them if none are named.

    Raises:
        QueryError: the run is no evolution, or has no such layer or channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    _check(run)
    about = run.layer(layer)
    columns = ["channel", "settled_since", *_FRAME]
    found = read(run, EVOLUTION, pc.field("layer_index") == about.index, columns).to_pylist()
    first, each = _first_row(run, about), len(found) // about.channels
    wanted = range(about.channels) if channels is None else [about.require_channel(channel) for channel in channels]
    return tuple(
        Strip(
            channel,
            found[channel * each]["settled_since"],
            tuple(
                Frame(first + number, **{name: found[number][name] for name in _FRAME})
                for number in range(channel * each, (channel + 1) * each)
            ),
        )
        for channel in wanted
    )


def cells(run: PublishedRun, layer: str, channels: Sequence[int]) -> dict[int, tuple[Cell, ...]]:
    """The patches and projections of some channels, by channel; the rank of a cell is its checkpoint.

    Raises:
        QueryError: the run is no evolution, or has no such layer or channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    _check(run)
    about = run.layer(layer)
    here = (pc.field("layer_index") == about.index) & pc.field("channel").isin(
        [about.require_channel(each) for each in channels]
    )
    plain = {name: pc.field(name) for name in ("channel", "score", "box_top", "box_left")}
    pictures = {name: pc.field(name, "bytes") for name in ("patch", "projection")}
    found = read(run, EVOLUTION, here, {**plain, "rank": pc.field("checkpoint"), **pictures}).to_pylist()
    return {channel: tuple(Cell(**each) for each in found if each["channel"] == channel) for channel in channels}


def cell(run: PublishedRun, number: int) -> tuple[str, Cell]:
    """The layer of a row, and its patch and projection.

    Raises:
        QueryError: the run is no evolution, or has no such row.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    _check(run)
    columns = ["layer", "channel", "checkpoint", "score", "box_top", "box_left", "patch", "projection"]
    found = row(run, EVOLUTION, number, columns)
    pictures: dict[str, Any] = {name: (found.pop(name) or {}).get("bytes") for name in ("patch", "projection")}
    return found.pop("layer"), Cell(rank=found.pop("checkpoint"), **found, **pictures)


def _course(layer: Layer, found: pa.Table) -> Course:
    count = pc.max(found["checkpoint"]).as_py() + 1
    overlap = found["overlap"].to_numpy().reshape(layer.channels, count)  # null is NaN
    since = found["settled_since"].to_numpy().reshape(layer.channels, count)[:, 0]
    living = ~np.isnan(since)
    known = (~np.isnan(overlap)).any(axis=0)
    mean = [float(np.nanmean(overlap[:, number])) if known[number] else None for number in range(count)]
    settled = [float((since <= number).mean()) for number in range(count)]
    median = int(np.quantile(since[living], 0.5, method="inverted_cdf")) if living.any() else None
    return Course(layer, tuple(mean), tuple(settled), median, int((~living).sum()))


def _first_row(run: PublishedRun, about: Layer) -> int:
    """How many rows of the table stand before a layer's: it is sorted, and every channel has a row for every checkpoint."""
    before = [layer.channels for layer in run.layers if layer.index < about.index]
    rows, channels = sum(part.rows for part in run.tables[EVOLUTION.name]), sum(each.channels for each in run.layers)
    return sum(before) * rows // channels


def _check(run: PublishedRun) -> None:
    if run.job != "evolve":
        raise QueryError(f"run {run.run!r} is of the job {run.job.value!r}; this asks for one of 'evolve'")
