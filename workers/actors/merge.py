"""Merging of shard results. Takes the results of neighbouring shards, writes one of the same form, without images and rejects."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from workers.actors.shard import Merge
from workers.core.statistics import Statistics
from workers.core.topk import Rows
from workers.core.topk import merge as merge_top
from workers.errors import DamagedFile
from workers.store import rows
from workers.store.root import Root
from workers.store.tables.scan import SHARD

# Raise it whenever the same children would give another result: stored results of the old algorithm are then not reused.
MERGE_ALGORITHM = 1


@dataclass(frozen=True)
class DerivedReport:
    """An actor's report on a result that is derived from others.

    Attributes:
        result: the result.
        missing: children that are missing or damaged, with the reason; then there is no result.
    """

    result: str
    missing: Mapping[str, str]


def merge(root: Root, item: Merge) -> DerivedReport:
    """Merge results and write one. The sums of statistics are folded in the order of the children."""
    top, folded, missing = Rows.empty(), None, dict[str, str]()
    for child in item.children:
        result = read_child(root, child, ["top", "statistics"], missing, sealed=True)
        if result is None:
            continue
        top = merge_top([top, Rows.from_arrow(rows.values(result, "top"))], item.k)
        records = rows.values(result, "statistics")
        if len(records):  # the shard has images
            statistics = Statistics.from_arrow(records)
            folded = statistics if folded is None else folded.fold(statistics)
    if not missing:
        root.put(item.result, rows.encode(SHARD, _result(top, folded)))
    return DerivedReport(item.result, missing)


def read_child(root: Root, child: str, columns: list[str], missing: dict[str, str], *, sealed: bool) -> pa.Table | None:
    """Some columns of a result. If it is missing or damaged, gives None, adds the reason to `missing`, and deletes it."""
    try:
        return rows.read_table(root, child, columns, sealed=sealed)
    except FileNotFoundError:
        missing[child] = "it is missing"
    except DamagedFile as error:
        root.delete(child)
        missing[child] = str(error)
    return None


def _result(top: Rows, folded: Statistics | None) -> pa.Table:
    lists = {name: pa.array([], SHARD.field(name).type.value_type) for name in SHARD.names} | {"top": top.to_arrow()}
    if folded is not None:
        lists["statistics"] = folded.to_arrow()
    return pa.table({name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in lists.items()})
