"""Questions to a published scan. Takes layers, channels and images, gives frozen rows."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.errors import QueryError, nearest
from workers.store.manifest import Layer
from workers.store.tables.scan import PATCHES, TOP, UNITS
from workers.store.tables.shared import IMAGES, REJECTS

_LIKELY_IDS = 2000


@dataclass(frozen=True)
class Top:
    """One row of `top`: an image that tops a channel. Boxes are half-open and may leave the image.

    `box_` is the receptive field in model-input pixels, `source_` in pixels of the upright source image; (y, x) is the
    location in the feature map.
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
    """One row of `units` without its histogram: the scores of one channel over all images."""

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


@dataclass(frozen=True)
class Cell:
    """What a sheet needs of one row of `patches`: both pictures are encoded and cover the box cut to the model's input.

    Attributes:
        channel: channel of the layer.
        rank: 0 for the largest score.
        score: the channel's largest activation in this image.
        box_top: first row of the receptive field, model-input pixels; may be negative.
        box_left: first column of it.
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


def top(run: PublishedRun, layer: str, channel: int) -> tuple[Top, ...]:
    """The images that top a channel, best first.

    Raises:
        QueryError: the run has no such layer or channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    wanted = _channels(run.layer(layer), (channel,))
    found = read(run, TOP, wanted, [field.name for field in fields(Top)])
    return _top(found.sort_by("rank"))


def image(run: PublishedRun, image_id: str) -> tuple[Top, ...]:
    """The channels that an image tops and wakes, by rank: first those that it tops above all others.

    Args:
        run: the run.
        image_id: the image's key in the corpus, or its uri.

    Raises:
        QueryError: the run did not scan the image.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    wanted = (pc.field("image_id") == image_id) | (pc.field("uri") == image_id)
    found = read(run, TOP, wanted & (pc.field("score") > 0), [field.name for field in fields(Top)])
    if not len(found) and not len(read(run, IMAGES, wanted, ["image_index"])):
        raise unknown_image(run, image_id)
    return _top(found.sort_by([(key, "ascending") for key in ("rank", "layer_index", "channel")]))


def cells(run: PublishedRun, layer: str, channels: Collection[int], ranks: int | None = None) -> tuple[Cell, ...]:
    """The patches and projections of some channels, by channel and rank; of each the first so many, or all.

    Raises:
        QueryError: the run has no such layer or channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    wanted = _channels(run.layer(layer), channels)
    if ranks is not None:
        wanted &= pc.field("rank") < ranks
    columns = {field.name: pc.field(field.name) for field in fields(Cell)}
    columns |= {name: pc.field(name, "bytes") for name in ("patch", "projection")}
    found = read(run, PATCHES, wanted, columns)
    order = [("channel", "ascending"), ("rank", "ascending")]
    return tuple(Cell(**row) for row in found.sort_by(order).to_pylist())


def living(run: PublishedRun, layer: str, limit: int) -> tuple[int, ...]:
    """The first channels of a layer that are not dead; the first of all if every one is."""
    here = pc.field("layer_index") == run.layer(layer).index
    found = read(run, UNITS, here, ["channel", "dead"]).sort_by("channel").to_pylist()
    alive = [unit["channel"] for unit in found if not unit["dead"]]
    return tuple(alive or [unit["channel"] for unit in found])[:limit]


def _channels(layer: Layer, channels: Collection[int]) -> pc.Expression:
    return (pc.field("layer_index") == layer.index) & pc.field("channel").isin(
        [layer.require_channel(each) for each in channels]
    )


def _top(found: pa.Table) -> tuple[Top, ...]:
    return tuple(Top(**row) for row in found.to_pylist())


def unknown_image(run: PublishedRun, image_id: str) -> QueryError:
    """Why an image is none of a run's: it was rejected, or there is none of this name."""
    same = pc.field("image_id") == image_id
    rejected = read(run, REJECTS, same, ["reason", "detail"]).to_pylist()
    if rejected:
        why = f"{rejected[0]['reason']}, {rejected[0]['detail']}"
        return QueryError(f"image {image_id!r} was not used in run {run.run!r}: {why}")
    # Comparing a name with a million others takes minutes: those that hold its own name come first, and few are tried.
    stem = PurePosixPath(image_id).stem.lower()
    alike = pc.match_substring(pc.utf8_lower(pc.field("image_id")), stem)
    names = read(run, IMAGES, alike, ["image_id"]) if stem else None
    if names is None or not len(names):
        names = read(run, IMAGES, pc.scalar(True), ["image_id"])
    likely = names["image_id"].slice(0, _LIKELY_IDS).to_pylist()
    return QueryError(f"no image {image_id!r} in run {run.run!r}; {nearest(image_id, likely)}")
