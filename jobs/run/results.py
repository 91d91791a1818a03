"""Stored results of work, named by hash. Takes an item of work, gives its result; remakes one that is missing or damaged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from workers.actors.shard import Group, Shard
from workers.errors import DamagedFile
from workers.store.root import Root
from workers.store.rows import read_table


@dataclass(frozen=True)
class StoredResults:
    """The results of shards or groups.

    Attributes:
        root: where they are stored.
        remake: runs an item again; called if its result is missing or damaged.
    """

    root: Root
    remake: Callable[[Any], object]

    def read(self, item: Shard | Group, columns: Sequence[str] = (), filters: Any = None) -> pa.Table:  # noqa: ANN401
        """Read an item's result: these columns (all if empty), and the rows that match pyarrow's filters."""
        wanted = list(columns) or None
        try:
            return read_table(self.root, item.result, wanted, filters, sealed=True)
        except (FileNotFoundError, DamagedFile):
            self.root.delete(item.result)
            self.remake(item)
            return read_table(self.root, item.result, wanted, filters, sealed=True)
