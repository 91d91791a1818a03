"""From shard results to tables. Takes shards in order, gives the rows of `units` and `top`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.run.accounts import ScannedImage
from jobs.run.attempt import Attempt
from jobs.run.deriving import Deriving
from jobs.run.merging import Tree
from jobs.run.results import StoredResults
from workers.actors.shard import Shard
from workers.core.network import Layer
from workers.core.preprocess import Preprocessing
from workers.core.receptive_field import Box
from workers.core.statistics import Statistics
from workers.core.topk import Rows, ranks
from workers.store.rows import values
from workers.store.tables.scan import TOP, UNITS


@dataclass(frozen=True, eq=False)
class Reduced:
    """The results of a whole corpus.

    Attributes:
        top: the top rows, sorted.
        statistics: statistics of all scores; without rows if no image could be used.
        merges: results of the merges, as paths under the root.
    """

    top: Rows
    statistics: Statistics
    merges: tuple[str, ...]


def reduce(run: Attempt[Any], stored: StoredResults, shards: Sequence[Shard], k: int) -> Reduced:
    """Merge the results of shards into one. Actors do that; the driver reads the last result alone.

    Args:
        run: the attempt; its actors can merge.
        stored: the results of the shards.
        shards: the shards, in the order of their images.
        k: number of images kept per channel.
    """
    tree = Tree.over(shards, k)
    results = Deriving(run, tree.shards, tree.levels, stored).finish("reduce", "merges")
    result = results.read(tree.root, ["top", "statistics"])
    top = Rows.from_arrow(values(result, "top"))
    statistics = Statistics.from_arrow(values(result, "statistics"))
    return Reduced(top, statistics, tuple(merge.result for merge in tree.merges))


def unit_rows(statistics: Statistics, layers: Sequence[Layer]) -> pa.Table:
    """The rows of `units`."""
    by_index = {layer.index: layer for layer in layers}
    layer_of_row = [by_index[index] for index in statistics.layer_index.tolist()]
    field_of_row = [
        layer.fields.of(channel) for layer, channel in zip(layer_of_row, statistics.channel.tolist(), strict=True)
    ]
    columns: dict[str, Any] = {
        "layer": [layer.name for layer in layer_of_row],
        "layer_index": statistics.layer_index,
        "channel": statistics.channel,
        **statistics.table_columns(),
        "field_height": [field.height for field in field_of_row],
        "field_width": [field.width for field in field_of_row],
        "stride_y": [_whole(field.stride_y) for field in field_of_row],
        "stride_x": [_whole(field.stride_x) for field in field_of_row],
        "row_stride": [field.stride_y for field in field_of_row],
        "column_stride": [field.stride_x for field in field_of_row],
        "gated": [layer.gated for layer in layer_of_row],
        "obstacle": [layer.obstacle for layer in layer_of_row],
    }
    return table_of(columns, UNITS.schema)


def top_rows(
    top: Rows,
    places: pa.Table,
    images: Mapping[int, ScannedImage],
    layers: Sequence[Layer],
    preprocessing: Preprocessing,
) -> pa.Table:
    """The rows of `top`, with each image's key, and the receptive field in input and in source pixels.

    Args:
        top: the top rows.
        places: the columns `y` and `x` of their units.
        images: their images, by image index.
        layers: the layers.
        preprocessing: the model's.
    """
    by_index = {layer.index: layer for layer in layers}
    columns: dict[str, Any] = {
        "layer": [by_index[index].name for index in top.layer_index.tolist()],
        "layer_index": top.layer_index,
        "channel": top.channel,
        "rank": ranks(top),
        "score": top.score,
        "image_index": top.image_index,
        **_keys([images[index] for index in top.image_index.tolist()]),
        "y": places["y"],
        "x": places["x"],
    }
    units = zip(
        top.layer_index.tolist(), top.channel.tolist(), places["y"].to_pylist(), places["x"].to_pylist(), strict=True
    )
    boxes = [by_index[index].fields.of(channel).box(y, x) for index, channel, y, x in units]
    sizes = [images[index] for index in top.image_index.tolist()]
    sources = [preprocessing.source_box(box, size.height, size.width) for box, size in zip(boxes, sizes, strict=True)]
    return table_of(columns | _edges("box", boxes) | _edges("source", sources), TOP.schema)


def _whole(stride: int | float | None) -> int | None:
    """A stride that is a whole number; None for a fraction."""
    return stride if isinstance(stride, int) else None


def _keys(images: Sequence[ScannedImage]) -> dict[str, list[str | None]]:
    """The columns that identify the image of each row."""
    return {
        "image_id": [image.image_id for image in images],
        "uri": [image.uri for image in images],
        "label": [image.label for image in images],
    }


def _edges(name: str, boxes: Sequence[Box]) -> dict[str, list[int]]:
    """The columns of the boxes' edges."""
    return {f"{name}_{edge}": [getattr(box, edge) for box in boxes] for edge in ("top", "left", "bottom", "right")}


def table_of(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema, from arrays of pyarrow or numpy, or lists."""
    arrays = {field.name: _array(columns[field.name], field.type) for field in schema}
    return pa.table(arrays, schema=schema)


def _array(values: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - arrays of pyarrow, numpy and lists
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
