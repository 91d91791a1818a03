"""The second pass. Takes top rows and shards, gives groups of work; takes their results, gives rows of patches and previews."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from jobs.results import Stored
from workers.core.topk import Rows, ranks
from workers.job import digest
from workers.shard import Group, Shard
from workers.store import paths
from workers.store.columns import IMAGE
from workers.store.schema import PATCHES, PREVIEWS

_KEY = ("layer_index", "channel", "rank")


def groups(top: Rows, shards: Sequence[Shard], configuration: str) -> list[Group]:
    """One group per shard whose images are in the top; its name is the hash of its rows and of the shard's result."""
    rank = ranks(top)
    found = []
    for shard in shards:
        here = (top.image_index >= shard.start) & (top.image_index < shard.stop)
        if here.any():
            rows, ranked = top.take(here), rank[here]
            name = digest([shard.result.rpartition("/")[2], *_listed(rows, ranked)])
            found.append(
                Group(shard.start, shard.stop, shard.manifest, paths.shard_path(configuration, name), rows, ranked)
            )
    return found


def patch_rows(stored: Stored, top: pa.Table, done: Sequence[Group], method: str) -> Iterator[pa.Table]:
    """The rows of `patches`, one layer at a time, in the order of `top`."""
    layers = top["layer_index"].unique().to_pylist()
    for layer in layers:
        rows = top.filter(pa.compute.equal(top["layer_index"], layer))
        holding = [group for group in done if (group.rows.layer_index == layer).any()]
        parts = [stored.read(group, filters=[("layer_index", "==", layer)]) for group in holding]
        projected = pa.concat_tables(parts).sort_by([(name, "ascending") for name in _KEY])
        yield _patches(rows, projected, method)


def preview_rows(stored: Stored, top: pa.Table, done: Sequence[Group]) -> Iterator[pa.Table]:
    """The rows of `previews`, group by group."""
    names = dict(zip(top["image_index"].to_pylist(), top["image_id"].to_pylist(), strict=True))
    for group in done:
        rows = stored.read(group, ["image_index", "patch"], [("layer_index", "==", -1)])
        index = rows["image_index"].to_pylist()
        columns = [pa.array(index, pa.int64()), pa.array([names[i] for i in index]), _image(rows["patch"])]
        yield pa.table(columns, schema=PREVIEWS.schema)


def _patches(top: pa.Table, projected: pa.Table, method: str) -> pa.Table:
    if any(top[name].to_pylist() != projected[name].to_pylist() for name in _KEY):
        raise ValueError("the projected rows are not those of the top")
    columns: Mapping[str, Any] = {
        **{name: top[name] for name in top.column_names},
        "patch": _image(projected["patch"]),
        "projection": _image(projected["projection"]),
        "projection_scale": projected["projection_scale"],
        "method": pa.array([method] * len(top)),
        "exact": projected["exact"],
    }
    return pa.table([columns[name] for name in PATCHES.schema.names], schema=PATCHES.schema)


def _image(column: pa.ChunkedArray) -> pa.StructArray:
    values = column.combine_chunks()
    path = pa.nulls(len(values), pa.string())
    return pa.StructArray.from_arrays([values, path], fields=list(IMAGE), mask=values.is_null())


def _listed(rows: Rows, rank: np.ndarray[Any, Any]) -> list[Any]:
    columns = (rows.layer_index, rows.channel, rank, rows.image_index, rows.y, rows.x)
    return [*(column.tolist() for column in columns), [float(score).hex() for score in rows.score]]
