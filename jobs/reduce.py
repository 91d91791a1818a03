"""Fold shard results into tables. Takes shards in order, gives images, rejects, units and top; holds one shard at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.results import Stored
from workers.core.network import Layer
from workers.core.preprocess import Preprocessing
from workers.core.statistics import Statistics
from workers.core.topk import Rows, merge, ranks
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.errors import RunStopped
from workers.shard import Shard
from workers.store.rows import TableWriter
from workers.store.schema import IMAGES, REJECTS, TOP, UNITS


@dataclass(frozen=True, eq=False)
class Reduced:
    """What a whole corpus says.

    Attributes:
        top: rows of `top`, sorted.
        statistics: over all scores.
        images: images scanned.
        rejects: images not used, by reason.
    """

    top: Rows
    statistics: Statistics
    images: int
    rejects: dict[str, int]


def reduce(stored: Stored, shards: Sequence[Shard], k: int, images: TableWriter, rejects: TableWriter) -> Reduced:
    """Fold the shards in their order, each once, and write what there is one row per image of.

    Raises:
        RunStopped: no image could be used, or one is neither among the images nor among the rejects.
    """
    top, statistics, scanned = Rows.empty(), None, 0
    reasons: dict[str, int] = {}
    for shard in shards:
        result = stored.read(shard)
        parts = {name: _values(result, name) for name in ("images", "rejects", "top", "statistics")}
        listed = manifest.rows(stored.root, shard.manifest, shard.start, shard.stop)
        _check_complete(shard, listed, parts)
        images.write(_image_rows(parts["images"], listed))
        rejects.write(_reject_rows(parts["rejects"], listed))
        for reason in parts["rejects"].field("reason").to_pylist():
            reasons[reason] = reasons.get(reason, 0) + 1
        scanned += len(parts["images"])
        top = merge([top, Rows.from_arrow(parts["top"])], k)
        if len(parts["statistics"]):
            here = Statistics.from_arrow(parts["statistics"])
            statistics = here if statistics is None else statistics.fold(here)
    if statistics is None:
        worst = max(reasons, key=lambda reason: reasons[reason])
        raise RunStopped(f"none of the {sum(reasons.values())} images could be used; the commonest reason is {worst}")
    return Reduced(top, statistics, scanned, dict(sorted(reasons.items())))


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
        images = _values(stored.read(shard, ["images"]), "images")
        sizes = {each["image_index"]: (each["height"], each["width"]) for each in images.to_pylist()}
        for row in manifest.rows(stored.root, shard.manifest, shard.start, shard.stop):
            if row.image_index in here:
                found[row.image_index] = (row, *sizes[row.image_index])
    return found


def _values(result: pa.Table, name: str) -> pa.StructArray:
    return result[name].combine_chunks().flatten()


def _check_complete(shard: Shard, listed: Sequence[Row], parts: dict[str, pa.StructArray]) -> None:
    """Every image that is listed was scanned or rejected: nothing is lost in silence."""
    wanted = [row.image_index for row in listed if not row.removed]
    got = sorted(parts["images"].field("image_index").to_pylist() + parts["rejects"].field("image_index").to_pylist())
    if got != wanted:
        raise RunStopped(f"shard {shard.start} to {shard.stop} lists {len(wanted)} images and accounts for {len(got)}")


def _image_rows(images: pa.StructArray, listed: Sequence[Row]) -> pa.Table:
    known = {row.image_index: row for row in listed}
    return pa.Table.from_pylist([{**_who(known[i["image_index"]]), **i} for i in images.to_pylist()], IMAGES.schema)


def _reject_rows(rejects: pa.StructArray, listed: Sequence[Row]) -> pa.Table:
    known = {row.image_index: row for row in listed}
    return pa.Table.from_pylist([{**_who(known[r["image_index"]]), **r} for r in rejects.to_pylist()], REJECTS.schema)


def _who(row: Row) -> dict[str, Any]:
    return {"image_id": row.image_id, "uri": row.uri, "label": row.label, "group": row.group}


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
