"""Fold shard results into tables. Takes shards in order, gives units and top; holds one shard at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.run.accounts import Accounted, Accounts, Counted, values
from jobs.run.results import Stored
from workers.actors.shard import Shard
from workers.core.network import Layer
from workers.core.preprocess import Preprocessing
from workers.core.statistics import Statistics
from workers.core.topk import Rows, merge, ranks
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.errors import RunStopped
from workers.store.schema import TOP, UNITS


@dataclass(frozen=True, eq=False)
class Reduced:
    """What a whole corpus says.

    Attributes:
        top: rows of `top`, sorted.
        statistics: over all scores.
        counted: images scanned, and not used.
    """

    top: Rows
    statistics: Statistics
    counted: Counted


def reduce(accounts: Accounts | Accounted, shards: Sequence[Shard], k: int) -> Reduced:
    """Fold the shards in their order, each once.

    Raises:
        RunStopped: no image could be used, or one is neither among the images nor among the rejects.
    """
    top, folded = Rows.empty(), None
    for shard in shards:
        result = accounts.take(shard)
        top = merge([top, Rows.from_arrow(values(result, "top"))], k)
        here = values(result, "statistics")
        if len(here):
            statistics = Statistics.from_arrow(here)
            folded = statistics if folded is None else folded.fold(statistics)
    counted = accounts.counted()
    if folded is None:
        raise RunStopped("images were scanned and no shard has statistics of them")
    return Reduced(top, folded, counted)


def unit_rows(statistics: Statistics, layers: Sequence[Layer]) -> pa.Table:
    """The rows of `units`."""
    known = {layer.index: layer for layer in layers}
    chosen = [known[index] for index in statistics.layer_index.tolist()]
    columns: dict[str, Any] = {
        "layer": [layer.name for layer in chosen],
        "layer_index": statistics.layer_index,
        "channel": statistics.channel,
        **statistics.table_columns(),
        "field_height": [layer.field.height for layer in chosen],
        "field_width": [layer.field.width for layer in chosen],
        "stride_y": [layer.field.stride_y for layer in chosen],
        "stride_x": [layer.field.stride_x for layer in chosen],
    }
    return _table(columns, UNITS.schema)


def top_rows(
    stored: Stored, reduced: Reduced, shards: Sequence[Shard], layers: Sequence[Layer], preprocessing: Preprocessing
) -> pa.Table:
    """The rows of `top`, with each image's key and the receptive field in input and source pixels."""
    top = reduced.top
    known = {layer.index: layer for layer in layers}
    images = _images_of(stored, shards, np.unique(top.image_index))
    found = []
    columns = (top.layer_index, top.channel, ranks(top), top.score, top.image_index, top.y, top.x)
    for layer_index, channel, rank, score, index, y, x in zip(*(column.tolist() for column in columns), strict=True):
        layer, (row, height, width) = known[layer_index], images[index]
        box = layer.field.box(y, x)
        source = preprocessing.source_box(box, height, width)
        found.append(
            (
                *(layer.name, layer_index, channel, rank, score, index, row.image_id, row.uri, row.label, y, x),
                *(box.top, box.left, box.bottom, box.right),
                *(source.top, source.left, source.bottom, source.right),
            )
        )
    names = TOP.schema.names
    return _table({name: [row[n] for row in found] for n, name in enumerate(names)}, TOP.schema)


def _images_of(
    stored: Stored, shards: Sequence[Shard], wanted: np.ndarray[Any, Any]
) -> dict[int, tuple[Row, int, int]]:
    """Manifest row, height and width of some images."""
    found = {}
    for shard in shards:
        here = set(wanted[(wanted >= shard.start) & (wanted < shard.stop)].tolist())
        if not here:
            continue
        images = values(stored.read(shard, ["images"]), "images")
        sizes = {each["image_index"]: (each["height"], each["width"]) for each in images.to_pylist()}
        for row in manifest.rows(stored.root, shard.manifest, shard.start, shard.stop):
            if row.image_index in here:
                found[row.image_index] = (row, *sizes[row.image_index])
    return found


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
