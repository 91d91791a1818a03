"""Queries of a published scan. Takes a run and layers, channels or images, gives frozen rows."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.errors import QueryError, nearest
from workers.store.facts import LayerFacts
from workers.store.tables.scan import PATCHES, TOP, UNITS
from workers.store.tables.shared import IMAGES, REJECTS

# How a field that leaves the model's input is shown: continued by the photo, or with grey around it.
View = Literal["filled", "exact"]
_COMPARED_IDS = 2000


@dataclass(frozen=True)
class Top:
    """One row of `top`: one of a channel's top images. Boxes are half-open and may leave the image.

    `box_*` is the receptive field in pixels of the model's input, `source_*` in pixels of the upright source image; (y, x) is
    the location in the feature map.
    """

    layer: str
    layer_index: int
    channel: int
    rank: int
    score: float
    image_index: int
    image_id: str
    uri: str
    label: str | None
    y: int
    x: int
    box_top: int
    box_left: int
    box_bottom: int
    box_right: int
    source_top: int
    source_left: int
    source_bottom: int
    source_right: int


@dataclass(frozen=True)
class Unit:
    """One row of `units` without its histogram: statistics of one channel's scores over all images.

    The last four are None in runs of earlier versions.
    """

    layer: str
    layer_index: int
    channel: int
    images: int
    max: float
    mean: float
    std: float
    active_share: float
    q01: float
    q10: float
    q25: float
    q50: float
    q75: float
    q90: float
    q99: float
    dead: bool
    field_height: int
    field_width: int
    stride_y: int | None
    stride_x: int | None
    row_stride: float | None
    column_stride: float | None
    gated: bool | None
    obstacle: str | None


@dataclass(frozen=True)
class Cell:
    """The columns of `patches` that sheets use. Both pictures are encoded and show the box cropped to the model's input.

    Attributes:
        channel: channel of the layer.
        rank: 0 for the largest score.
        score: the channel's largest activation in this image.
        box_top: first row of the receptive field, model-input pixels; may be negative.
        box_left: first column of the receptive field, likewise.
        patch: encoded patch.
        projection: encoded projection; None where the score is not positive.
    """

    channel: int
    rank: int
    score: float
    box_top: int
    box_left: int
    patch: bytes
    projection: bytes | None


@dataclass(frozen=True)
class PlacedCell(Cell):
    """A cell, its image, and the whole receptive field: `box` in model-input pixels, `source_box` in source pixels."""

    image_index: int
    box_bottom: int
    box_right: int
    source_top: int
    source_left: int
    source_bottom: int
    source_right: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Top, left, bottom and right; half-open, and may leave the model's input."""
        return self.box_top, self.box_left, self.box_bottom, self.box_right

    @property
    def source_box(self) -> tuple[int, int, int, int]:
        """Top, left, bottom and right, rounded outward; half-open, and may leave the image."""
        return self.source_top, self.source_left, self.source_bottom, self.source_right


def top(run: PublishedRun, layer: str, channel: int) -> tuple[Top, ...]:
    """The top images of a channel, best first.

    Raises:
        QueryError: the run lacks the layer or a channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    table = read(run, TOP, _is_channel(run.layer(layer), (channel,)), [field.name for field in fields(Top)])
    return _top(table.sort_by("rank"))


def image(run: PublishedRun, image_id: str) -> tuple[Top, ...]:
    """The channels that have an image among their top images with a positive score, ordered by the image's rank.

    Args:
        run: the run.
        image_id: id of the image in the corpus, or its uri.

    Raises:
        QueryError: the run did not scan the image.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    is_image = (pc.field("image_id") == image_id) | (pc.field("uri") == image_id)
    table = read(run, TOP, is_image & (pc.field("score") > 0), [field.name for field in fields(Top)])
    if not len(table) and not len(read(run, IMAGES, is_image, ["image_index"])):
        raise unknown_image(run, image_id)
    return _top(table.sort_by([(key, "ascending") for key in ("rank", "layer_index", "channel")]))


def cells(run: PublishedRun, layer: str, channels: Collection[int], ranks: int | None = None) -> tuple[PlacedCell, ...]:
    """The patches and projections of some channels, ordered by channel and rank; the first `ranks` of each, or all.

    Raises:
        QueryError: the run lacks the layer or a channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    condition = _is_channel(run.layer(layer), channels)
    if ranks is not None:
        condition &= pc.field("rank") < ranks
    columns = {field.name: pc.field(field.name) for field in fields(PlacedCell)}
    columns |= {name: pc.field(name, "bytes") for name in ("patch", "projection")}
    table = read(run, PATCHES, condition, columns)
    order = [("channel", "ascending"), ("rank", "ascending")]
    return tuple(PlacedCell(**row) for row in table.sort_by(order).to_pylist())


def living(run: PublishedRun, layer: str, limit: int) -> tuple[int, ...]:
    """The first channels of a layer that are not dead, or simply the first ones if all are dead."""
    is_layer = pc.field("layer_index") == run.layer(layer).index
    units = read(run, UNITS, is_layer, ["channel", "dead"]).sort_by("channel").to_pylist()
    alive = [unit["channel"] for unit in units if not unit["dead"]]
    return tuple(alive or [unit["channel"] for unit in units])[:limit]


def _is_channel(layer: LayerFacts, channels: Collection[int]) -> pc.Expression:
    numbers = [layer.require_channel(channel) for channel in channels]
    return (pc.field("layer_index") == layer.index) & pc.field("channel").isin(numbers)


def _top(table: pa.Table) -> tuple[Top, ...]:
    return tuple(Top(**row) for row in table.to_pylist())


def unknown_image(run: PublishedRun, image_id: str) -> QueryError:
    """The error for an image that a run did not scan: it was rejected, or its id is unknown."""
    is_image = pc.field("image_id") == image_id
    rejects = read(run, REJECTS, is_image, ["reason", "detail"]).to_pylist()
    if rejects:
        reason = f"{rejects[0]['reason']}, {rejects[0]['detail']}"
        return QueryError(f"image {image_id!r} was not used in run {run.run!r}: {reason}")
    return QueryError(f"no image {image_id!r} in run {run.run!r}; {nearest(image_id, _similar_ids(run, image_id))}")


def _similar_ids(run: PublishedRun, image_id: str) -> list[str]:
    """Some ids to search for the nearest one, preferably such that contain the name: comparing a million takes minutes."""
    stem = PurePosixPath(image_id).stem.lower()
    contains_stem = pc.match_substring(pc.utf8_lower(pc.field("image_id")), stem)
    ids = read(run, IMAGES, contains_stem, ["image_id"]) if stem else None
    if ids is None or not len(ids):
        ids = read(run, IMAGES, pc.scalar(True), ["image_id"])
    return [str(value) for value in ids["image_id"].slice(0, _COMPARED_IDS).to_pylist()]
