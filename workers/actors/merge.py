"""Merging of shard results. Takes the results of neighbouring shards, writes one of the same form, without images and rejects."""

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
class MergeReport:
    """An actor's report on a merge.

    Attributes:
        result: the result of the merge.
        missing: children that are missing or damaged; then there is no result.
    """

    result: str
    missing: tuple[str, ...]


def merge(root: Root, item: Merge) -> MergeReport:
    """Merge results and write one. The sums of statistics are folded in the order of the children."""
    top, folded, missing = Rows.empty(), None, []
    for child in item.children:
        try:
            result = rows.read_table(root, child, ["top", "statistics"], sealed=True)
        except (FileNotFoundError, DamagedFile):
            root.delete(child)
            missing.append(child)
            continue
        top = merge_top([top, Rows.from_arrow(rows.values(result, "top"))], item.k)
        found = rows.values(result, "statistics")
        if len(found):  # the shard has images
            statistics = Statistics.from_arrow(found)
            folded = statistics if folded is None else folded.fold(statistics)
    if not missing:
        root.put(item.result, rows.encode(SHARD, _result(top, folded)))
    return MergeReport(item.result, tuple(missing))


def _result(top: Rows, folded: Statistics | None) -> pa.Table:
    lists = {name: pa.array([], SHARD.field(name).type.value_type) for name in SHARD.names} | {"top": top.to_arrow()}
    if folded is not None:
        lists["statistics"] = folded.to_arrow()
    return pa.table({name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in lists.items()})
