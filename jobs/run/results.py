"""Stored results of work, named by hash. Takes an item of work, gives its result; remakes one that is missing or damaged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from workers.actors.shard import ChannelBatch, Derived, Group, Shard
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

    def read(
        self,
        item: Shard | Group | Derived | ChannelBatch,
        columns: Sequence[str] = (),
        filters: Any = None,  # noqa: ANN401
        *,
        sealed: bool = True,
    ) -> pa.Table:
        """Read an item's result.

        Args:
            item: the item.
            columns: the columns to read; all if empty.
            filters: pyarrow's filters of rows.
            sealed: check the hash of the whole file. Without it, only the pages that are read are checked.
        """
        read = partial(read_table, self.root, item.result, list(columns) or None, filters, sealed=sealed)
        try:
            return read()
        except (FileNotFoundError, DamagedFile):
            self.root.delete(item.result)
            self.remake(item)
            return read()
