"""The second pass. Takes top rows and shards, gives groups of work; takes results, gives rows of `patches` and `previews`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from jobs.ray.actor import PlainWorker
from jobs.run import plan
from jobs.run.attempt import Attempt
from jobs.run.results import StoredResults
from workers.actors.job import digest
from workers.actors.shard import Group, Shard
from workers.core.network import Layer, Network
from workers.core.topk import Rows, ranks
from workers.errors import GraphError
from workers.spec.parts import Method
from workers.store import paths
from workers.store.columns import IMAGE
from workers.store.tables.scan import PATCHES, PREVIEWS

PATCHES_ALONE = "use --method none for patches without projections"

_KEY = ("layer_index", "channel", "rank")


def scales(top: Rows) -> dict[int, float]:
    """The largest magnitude of the scores, by layer index."""
    return {
        int(layer): float(np.abs(top.score[top.layer_index == layer]).max()) for layer in np.unique(top.layer_index)
    }


def groups(
    top: Rows,
    shards: Sequence[Shard],
    configuration: str,
    hashes: Mapping[int, str],
    tolerances: Mapping[int, float],
) -> list[Group]:
    """One group for each shard with images in the top. Its result is named by the hash of its rows and of the shard's result.

    Args:
        top: the rows.
        shards: the scanned shards.
        configuration: hash of all that the results depend on, except the rows.
        hashes: the SHA-256 of the images' files as they were scanned, by image index.
        tolerances: see `Group`; empty in float32.
    """
    rank, groups, magnitudes = ranks(top), [], scales(top)
    for shard in shards:
        is_inside = (top.image_index >= shard.start) & (top.image_index < shard.stop)
        if is_inside.any():
            rows, row_ranks = top.take(is_inside), rank[is_inside]
            name = digest([paths.result_name(shard.result), *_plain(rows, row_ranks)])
            result = paths.shard_path(configuration, name)
            own = {index: hashes[index] for index in set(rows.image_index.tolist())}
            groups.append(
                Group(shard.start, shard.stop, shard.manifest, result, rows, row_ranks, magnitudes, tolerances, own)
            )
    return groups


def require_projections(layers: Sequence[Layer], network: Network, method: Method | None) -> None:
    """Require a way down from every layer, if activations are projected.

    Raises:
        GraphError: a layer lies above an operation without a downward step.
    """
    blocked = next((layer for layer in layers if layer.obstacle), None) if method else None
    if blocked is None:
        return
    possible = [layer.name for layer in network.layers[: blocked.index] if not layer.obstacle]
    last = f"layers up to {possible[-1]!r} have projections" if possible else "no layer of this network has projections"
    raise GraphError(
        f"layer {blocked.name!r} has no projections, because of {blocked.obstacle}; {last}; {PATCHES_ALONE}"
    )


def run_groups(run: Attempt[Any], groups: Sequence[Group], make: Callable[[], PlainWorker]) -> int:
    """Run the groups whose results are missing; returns their number."""
    todo = plan.missing(run.root, groups)
    run.watch.phase("project", sum(len(group.rows) for group in todo), "patches")
    if todo:
        run.pool.start(make)
    rows = 0

    def progress(in_progress: int) -> None:
        run.watch.advance(rows + in_progress)

    for report in run.pool.run(todo, progress, run.replan):
        rows += report.rows
    return len(todo)


def places(stored: StoredResults, done: Sequence[Group]) -> pa.Table:
    """The columns `y` and `x` of `top`: where the second pass found each unit, in the order of `top`."""
    found = pa.concat_tables(
        [stored.read(group, [*_KEY, "y", "x"], pa.compute.field("layer_index").is_valid()) for group in done]
    )
    return found.sort_by([(name, "ascending") for name in _KEY]).select(["y", "x"])


def patch_rows(
    stored: StoredResults, top: pa.Table, done: Sequence[Group], method: str, block: int | None = None
) -> Iterator[pa.Table]:
    """The rows of `patches` in the order of `top`, one layer or one block of its channels at a time."""
    layers = top["layer_index"].unique().to_pylist()
    for layer in layers:
        rows = top.filter(pa.compute.equal(top["layer_index"], layer))
        groups_of_layer = [group for group in done if (group.rows.layer_index == layer).any()]
        channels = pa.compute.max(rows["channel"]).as_py() + 1
        for start in range(0, channels, block or channels):
            stop = start + (block or channels)
            wanted = [("layer_index", "==", layer), ("channel", ">=", start), ("channel", "<", stop)]
            projected = pa.concat_tables([stored.read(group, filters=wanted) for group in groups_of_layer])
            yield _patches(
                _between(rows, start, stop), projected.sort_by([(name, "ascending") for name in _KEY]), method
            )


def preview_rows(stored: StoredResults, top: pa.Table, done: Sequence[Group]) -> Iterator[pa.Table]:
    """The rows of `previews`, group by group."""
    names = dict(zip(top["image_index"].to_pylist(), top["image_id"].to_pylist(), strict=True))
    for group in done:
        rows = stored.read(group, ["image_index", "preview"], pa.compute.field("layer_index").is_null())
        index = rows["image_index"].to_pylist()
        columns = {
            "image_index": pa.array(index, pa.int64()),
            "image_id": pa.array([names[image] for image in index], pa.string()),
            "preview": _image(rows["preview"]),
        }
        yield pa.table(columns, schema=PREVIEWS.schema)


def _between(rows: pa.Table, start: int, stop: int) -> pa.Table:
    """The rows of channels [start, stop)."""
    channel = rows["channel"]
    return rows.filter(pa.compute.and_(pa.compute.greater_equal(channel, start), pa.compute.less(channel, stop)))


def _patches(top: pa.Table, projected: pa.Table, method: str) -> pa.Table:
    if any(top[name].to_pylist() != projected[name].to_pylist() for name in _KEY):
        raise ValueError("the projected rows differ from the rows of the table top")
    columns = {
        **{name: top[name] for name in top.column_names},
        "patch": _image(projected["patch"]),
        "projection": _image(projected["projection"]),
        "projection_scale": projected["projection_scale"],
        "method": pa.array([method] * len(top)),
        "exact": projected["exact"],
    }
    return pa.table(columns, schema=PATCHES.schema)


def _image(column: pa.ChunkedArray) -> pa.StructArray:
    values = column.combine_chunks()
    path = pa.nulls(len(values), pa.string())
    return pa.StructArray.from_arrays([values, path], fields=list(IMAGE), mask=values.is_null())


def _plain(rows: Rows, rank: np.ndarray[Any, Any]) -> list[Any]:
    """The rows as plain values, for a hash."""
    columns = (rows.layer_index, rows.channel, rank, rows.image_index)
    return [*(column.tolist() for column in columns), [float(score).hex() for score in rows.score]]
