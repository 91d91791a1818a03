"""Accounts for images. Takes results of shards, writes the rows of `images`, `rejects` and `predictions`, as files."""

import io
import platform
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.actors.merge import DerivedReport, read_child
from workers.actors.shard import Account
from workers.corpus import manifest
from workers.errors import NodeError, RunStopped
from workers.store import rows
from workers.store.columns import Table
from workers.store.root import Root
from workers.store.tables.scan import ACCOUNTED, PREDICTIONS
from workers.store.tables.shared import IMAGES, REJECTS

# Raise it whenever the same shards would give other rows or files: stored results of the old algorithm are then not reused.
ACCOUNT_ALGORITHM = 1
SHOWN = 3  # rejects that an error names


def account(root: Root, item: Account) -> DerivedReport:
    """Write the rows of some images, in the order of their indices.

    Raises:
        NodeError: this node has another version of pyarrow than the one that the result is named by.
        RunStopped: an image is neither among the images nor among the rejects.
    """
    if item.pyarrow != pa.__version__:
        raise NodeError(f"node {platform.node()} has pyarrow {pa.__version__} instead of {item.pyarrow}")
    missing = dict[str, str]()
    columns = ["images", "rejects", *(["predictions"] if item.class_names else ())]
    read = (read_child(root, child, columns, missing, sealed=False) for child in item.children)
    results = [result for result in read if result is not None]
    if not missing:
        root.put(item.result, rows.encode(ACCOUNTED, make_row(root, item, results)))
    return DerivedReport(item.result, missing)


def make_row(root: Root, item: Account, results: Sequence[pa.Table]) -> pa.Table:
    """The one row of an item's result, from the columns of its shards' results."""
    listed = manifest.table(root, item.manifest, item.start, item.stop)
    images, rejects = (_select_own(item, results, name) for name in ("images", "rejects"))
    check_complete(item.start, item.stop, listed, images.field("image_index"), rejects.field("image_index"))
    used, rejected = rows_of(item.start, images, listed, IMAGES), rows_of(item.start, rejects, listed, REJECTS)
    reasons = sorted(Counter(rejected["reason"].to_pylist()).items())
    row = {
        "images": _encode(used, IMAGES),
        "rejects": _encode(rejected, REJECTS),
        "scanned": len(used),
        "reasons": [{"reason": reason, "count": count} for reason, count in reasons],
        "examples": examples(rejected),
        "predictions": _encode(_predicted(item, listed, results), PREDICTIONS) if item.class_names else None,
    }
    return pa.Table.from_pylist([row], ACCOUNTED)


def _predicted(item: Account, listed: pa.Table, results: Sequence[pa.Table]) -> pa.Table:
    """The rows of `predictions`."""
    records = _select_own(item, results, "predictions")
    names = pa.array(item.class_names).take(records.field("class_index"))
    named = pa.StructArray.from_arrays([*records.flatten(), names], names=[*records.type.names, "class_name"])
    return rows_of(item.start, named, listed, PREDICTIONS)


def check_complete(start: int, stop: int, listed: pa.Table, *indices: pa.Array) -> None:
    """Require that each listed image is either among the images or among the rejects.

    Args:
        start: first image index.
        stop: image index after the last.
        listed: the images' rows of the manifest.
        indices: those of images, and those of rejects.
    """
    expected = start + np.flatnonzero(~listed["removed"].to_numpy())
    every = np.sort(np.concatenate([part.to_numpy() for part in indices]))
    if not np.array_equal(every, expected):
        raise RunStopped(
            f"images {start} to {stop}: {len(expected)} are listed, but the results account for {len(every)}"
        )


def rows_of(start: int, records: pa.StructArray, listed: pa.Table, table: Table) -> pa.Table:
    """Rows of a table: what results say about images, with the images' keys in the manifest.

    Args:
        start: index of the first listed image.
        records: what the results say.
        listed: rows of the manifest.
        table: the table.
    """
    keys = listed.take(pc.subtract(records.field("image_index"), start))
    columns = dict(zip(keys.column_names, keys.columns, strict=True))
    columns |= dict(zip(records.type.names, records.flatten(), strict=True))
    return pa.table([columns[name] for name in table.schema.names], schema=table.schema)


def examples(rejected: pa.Table, count: int = SHOWN) -> list[str]:
    """The first rows of `rejects`, each in one line."""
    return [f"{row['image_id']}: {row['reason']}: {row['detail']}" for row in rejected.slice(0, count).to_pylist()]


def _select_own(item: Account, results: Sequence[pa.Table], name: str) -> pa.StructArray:
    """What the shards say about the item's images."""
    every = pa.concat_arrays([rows.values(result, name) for result in results])
    index = every.field("image_index")
    return every.filter(pc.and_(pc.greater_equal(index, item.start), pc.less(index, item.stop)))


def _encode(part: pa.Table, table: Table) -> bytes | None:
    """A Parquet file, as `rows.TableWriter` writes it; None without rows."""
    if not len(part):
        return None
    file = io.BytesIO()
    with pq.ParquetWriter(file, table.schema, **rows.options(table)) as writer:
        for start in range(0, len(part), table.group_rows):
            group = part.slice(start, table.group_rows).combine_chunks()
            writer.write_table(group, row_group_size=table.group_rows)
    return file.getvalue()
