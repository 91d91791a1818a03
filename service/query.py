"""Questions to a published run. Takes layers, channels and images, gives frozen rows; reads what its manifest names."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from service.catalog import Layer, PublishedRun
from workers.errors import DamagedRun, QueryError, nearest
from workers.store import paths
from workers.store.columns import Table
from workers.store.schema import IMAGES, PATCHES, REJECTS, TOP, UNITS

Sort = Literal["channel", "dead", "max", "mean", "std", "active_share"]
SORTS: tuple[str, ...] = get_args(Sort)

_LIKELY_IDS = 2000
_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
)


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


Row = TypeVar("Row", Top, Unit)


def top(run: PublishedRun, layer: str, channel: int) -> tuple[Top, ...]:
    """The images that top a channel, best first.

    Raises:
        QueryError: the run has no such layer or channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    wanted = _channels(run.layer(layer), (channel,))
    found = read(run, TOP, wanted, [field.name for field in fields(Top)])
    return _rows(Top, found.sort_by("rank"))


def units(run: PublishedRun, layer: str, sort: str = "channel", limit: int | None = None) -> tuple[Unit, ...]:
    """The statistics of a layer's channels.

    Args:
        run: the run.
        layer: name of the layer.
        sort: "channel", "dead" (these first, then the least active), or a statistic, largest first.
        limit: rows at most.

    Raises:
        QueryError: the run has no such layer, or there is no such order.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    if sort not in SORTS:
        raise QueryError(f"units cannot be sorted by {sort!r}; {nearest(sort, SORTS)}")
    wanted = pc.field("layer_index") == run.layer(layer).index
    found = read(run, UNITS, wanted, [field.name for field in fields(Unit)])
    orders = {"channel": [], "dead": [("dead", "descending"), ("active_share", "ascending")]}
    order = orders.get(sort, [(sort, "descending")])
    rows = _rows(Unit, found.sort_by([*order, ("channel", "ascending")]))
    return rows[:limit]


def image(run: PublishedRun, image_id: str) -> tuple[Top, ...]:
    """The channels that an image tops, by rank: first those that it tops above all others.

    Args:
        run: the run.
        image_id: the image's key in the corpus, or its uri.

    Raises:
        QueryError: the run did not scan the image.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    wanted = (pc.field("image_id") == image_id) | (pc.field("uri") == image_id)
    found = read(run, TOP, wanted, [field.name for field in fields(Top)])
    if not len(found) and not len(read(run, IMAGES, wanted, ["image_index"])):
        raise QueryError(_unknown_image(run, image_id))
    return _rows(Top, found.sort_by([(key, "ascending") for key in ("rank", "layer_index", "channel")]))


def cells(run: PublishedRun, layer: str, channels: Collection[int]) -> tuple[Cell, ...]:
    """The patches and projections of some channels, by channel and rank.

    Raises:
        QueryError: the run has no such layer or channel.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    wanted = _channels(run.layer(layer), channels)
    columns = {field.name: pc.field(field.name) for field in fields(Cell)}
    columns |= {name: pc.field(name, "bytes") for name in ("patch", "projection")}
    found = read(run, PATCHES, wanted, columns)
    order = [("channel", "ascending"), ("rank", "ascending")]
    return tuple(Cell(**row) for row in found.sort_by(order).to_pylist())


def living(run: PublishedRun, layer: str, limit: int) -> tuple[int, ...]:
    """The first channels of a layer that are not dead; the first of all if every one is."""
    found = units(run, layer)
    alive = [unit.channel for unit in found if not unit.dead]
    return tuple(alive or [unit.channel for unit in found])[:limit]


def as_json(rows: Iterable[Top | Unit]) -> list[dict[str, Any]]:
    """The rows as plain values, keys as the columns are named."""
    return [asdict(row) for row in rows]


def _channels(layer: Layer, channels: Collection[int]) -> pc.Expression:
    for channel in channels:
        if not 0 <= channel < layer.channels:
            raise QueryError(f"no channel {channel} in layer {layer.name!r}; it has 0 to {layer.channels - 1}")
    return (pc.field("layer_index") == layer.index) & pc.field("channel").isin(list(channels))


def read(
    run: PublishedRun, table: Table, wanted: pc.Expression, columns: list[str] | dict[str, pc.Expression]
) -> pa.Table:
    """Columns of those rows of a table that an expression leaves.

    Raises:
        QueryError: the run has no such table.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    files = _files(run, table)
    try:
        dataset = ds.dataset(files, schema=table.schema, format=_FORMAT, filesystem=run.root.filesystem)
        return dataset.to_table(columns=columns, filter=wanted)
    except (OSError, pa.ArrowInvalid) as error:
        raise DamagedRun(f"run {run.run!r}: its table {table.name!r} cannot be read: {error}") from error


def picture(run: PublishedRun, table: Table, column: str, number: int) -> bytes:
    """The encoded picture in row `number` of a table; its row group alone is read.

    Raises:
        QueryError: there is no such row, or no picture in it.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    left = number
    for path in _files(run, table) if number >= 0 else ():
        with pq.ParquetFile(path, filesystem=run.root.filesystem, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if left < rows:
                    found = file.read_row_group(group, [f"{column}.bytes"])[column][left].as_py()
                    if found and found["bytes"]:
                        return bytes(found["bytes"])
                    raise QueryError(f"no picture {column!r} in row {number} of table {table.name!r}")
                left -= rows
    raise QueryError(f"no row {number} in table {table.name!r}")


def _files(run: PublishedRun, table: Table) -> list[str]:
    """Full paths of a table's files, after a look at whether they are there and have their sizes."""
    if table.name not in run.tables:
        raise QueryError(f"run {run.run!r} has no table {table.name!r}; {nearest(table.name, run.tables)}")
    folder = paths.table_folder(table.name, run.run)
    there = run.root.files(folder)
    for part in run.tables[table.name]:
        size = there.get(part.path.removeprefix(f"{folder}/"))
        if size != part.bytes:
            told = "is missing" if size is None else f"has {size} bytes instead of {part.bytes}"
            raise DamagedRun(f"run {run.run!r}: {part.path} {told}")
    return [run.root.path(part.path) for part in run.tables[table.name]]


def _rows(kind: type[Row], found: pa.Table) -> tuple[Row, ...]:
    return tuple(kind(**row) for row in found.to_pylist())


def _unknown_image(run: PublishedRun, image_id: str) -> str:
    same = pc.field("image_id") == image_id
    rejected = read(run, REJECTS, same, ["reason", "detail"]).to_pylist()
    if rejected:
        return f"image {image_id!r} was not used in run {run.run!r}: {rejected[0]['reason']}, {rejected[0]['detail']}"
    # Comparing a name with a million others takes minutes: those that hold its own name come first, and few are tried.
    stem = PurePosixPath(image_id).stem.lower()
    alike = pc.match_substring(pc.utf8_lower(pc.field("image_id")), stem)
    names = read(run, IMAGES, alike, ["image_id"]) if stem else None
    if names is None or not len(names):
        names = read(run, IMAGES, pc.scalar(True), ["image_id"])
    likely = names["image_id"].slice(0, _LIKELY_IDS).to_pylist()
    return f"no image {image_id!r} in run {run.run!r}; {nearest(image_id, likely)}"
