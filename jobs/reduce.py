"""Fold shard results into tables. Takes shards in order, gives the rows of `units` and `top`; holds one shard at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.run.accounts import Accounts, ImageCounts, PriorAccounts, values
from jobs.run.results import StoredResults
from workers.actors.shard import Shard
from workers.core.network import Layer
from workers.core.preprocess import Preprocessing
from workers.core.receptive_field import Box
from workers.core.statistics import Statistics
from workers.core.topk import Rows, merge, ranks
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.errors import RunStopped
from workers.store.tables.scan import TOP, UNITS


@dataclass(frozen=True, eq=False)
class Reduced:
    """The results of a whole corpus.

    Attributes:
        top: rows of `top`, sorted.
        statistics: statistics of all scores.
        counts: images scanned and rejected.
    """

    top: Rows
    statistics: Statistics
    counts: ImageCounts


def reduce(accounts: Accounts | PriorAccounts, shards: Sequence[Shard], k: int) -> Reduced:
    """Fold the shards in their order, each once.

    Raises:
        RunStopped: every image was rejected, or one is neither among the images nor among the rejects.
    """
    top, folded = Rows.empty(), None
    for shard in shards:
        result = accounts.take(shard)
        top = merge([top, Rows.from_arrow(values(result, "top"))], k)
        records = values(result, "statistics")
        if len(records):
            statistics = Statistics.from_arrow(records)
            folded = statistics if folded is None else folded.fold(statistics)
    counts = accounts.counts()
    if folded is None:
        raise RunStopped("images were scanned, but no shard has statistics")
    return Reduced(top, folded, counts)


def unit_rows(statistics: Statistics, layers: Sequence[Layer]) -> pa.Table:
    """The rows of `units`."""
    by_index = {layer.index: layer for layer in layers}
    layer_of_row = [by_index[index] for index in statistics.layer_index.tolist()]
    columns: dict[str, Any] = {
        "layer": [layer.name for layer in layer_of_row],
        "layer_index": statistics.layer_index,
        "channel": statistics.channel,
        **statistics.table_columns(),
        "field_height": [layer.field.height for layer in layer_of_row],
        "field_width": [layer.field.width for layer in layer_of_row],
        "stride_y": [_whole(layer.field.stride_y) for layer in layer_of_row],
        "stride_x": [_whole(layer.field.stride_x) for layer in layer_of_row],
        "row_stride": [layer.field.stride_y for layer in layer_of_row],
        "column_stride": [layer.field.stride_x for layer in layer_of_row],
        "gated": [layer.gated for layer in layer_of_row],
        "obstacle": [layer.obstacle for layer in layer_of_row],
    }
    return table_of(columns, UNITS.schema)


def top_rows(
    stored: StoredResults,
    top: Rows,
    places: pa.Table,
    shards: Sequence[Shard],
    layers: Sequence[Layer],
    preprocessing: Preprocessing,
) -> pa.Table:
    """The rows of `top`, with each image's key, and the receptive field in input and in source pixels.

    Args:
        stored: the results of the shards.
        top: the top rows.
        places: the columns `y` and `x` of their units.
        shards: the scanned shards.
        layers: the layers.
        preprocessing: the model's.
    """
    by_index = {layer.index: layer for layer in layers}
    images = _images_of(stored, shards, np.unique(top.image_index))
    columns: dict[str, Any] = {
        "layer": [by_index[index].name for index in top.layer_index.tolist()],
        "layer_index": top.layer_index,
        "channel": top.channel,
        "rank": ranks(top),
        "score": top.score,
        "image_index": top.image_index,
        **_keys([images[index].row for index in top.image_index.tolist()]),
        "y": places["y"],
        "x": places["x"],
    }
    units = zip(top.layer_index.tolist(), places["y"].to_pylist(), places["x"].to_pylist(), strict=True)
    boxes = [by_index[index].field.box(y, x) for index, y, x in units]
    sizes = [images[index] for index in top.image_index.tolist()]
    sources = [preprocessing.source_box(box, size.height, size.width) for box, size in zip(boxes, sizes, strict=True)]
    return table_of(columns | _edges("box", boxes) | _edges("source", sources), TOP.schema)


def _whole(stride: int | float | None) -> int | None:
    """A stride that is a whole number; None for a fraction."""
    return stride if isinstance(stride, int) else None


def _keys(rows: Sequence[Row]) -> dict[str, list[str | None]]:
    """The columns that identify the image of each row."""
    return {
        "image_id": [row.image_id for row in rows],
        "uri": [row.uri for row in rows],
        "label": [row.label for row in rows],
    }


def _edges(name: str, boxes: Sequence[Box]) -> dict[str, list[int]]:
    """The columns of the boxes' edges."""
    return {f"{name}_{edge}": [getattr(box, edge) for box in boxes] for edge in ("top", "left", "bottom", "right")}


@dataclass(frozen=True)
class _Image:
    """An image's row of the manifest, and its size in pixels."""

    row: Row
    height: int
    width: int


def _images_of(stored: StoredResults, shards: Sequence[Shard], wanted: np.ndarray[Any, Any]) -> dict[int, _Image]:
    """The wanted images, by image index."""
    images = {}
    for shard in shards:
        of_shard = set(wanted[(wanted >= shard.start) & (wanted < shard.stop)].tolist())
        if not of_shard:
            continue
        scanned = values(stored.read(shard, ["images"]), "images").to_pylist()
        records = {record["image_index"]: record for record in scanned}
        for row in manifest.rows(stored.root, shard.manifest, shard.start, shard.stop):
            if row.image_index in of_shard:
                record = records[row.image_index]
                images[row.image_index] = _Image(row, record["height"], record["width"])
    return images


def table_of(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema, from arrays of pyarrow or numpy, or lists."""
    arrays = {field.name: _array(columns[field.name], field.type) for field in schema}
    return pa.table(arrays, schema=schema)


def _array(values: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - arrays of pyarrow, numpy and lists
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
