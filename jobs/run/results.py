"""Results that are named by what they depend on. Takes an item of work, gives its result; one that is gone is made again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from workers.actors.shard import Group, Shard
from workers.errors import DamagedFile
from workers.store.root import Root
from workers.store.rows import read_table


@dataclass(frozen=True)
class Stored:
    """The results of shards, or of groups.

    Attributes:
        root: where they lie.
        again: runs an item once more; called if its result has vanished or is damaged.
    """

    root: Root
    again: Callable[[Any], None]

    def read(self, item: Shard | Group, columns: Sequence[str] = (), filters: Any = None) -> pa.Table:  # noqa: ANN401
        """The result of an item: these columns (none named: all), and the rows that pyarrow's filters leave."""
        wanted = list(columns) or None
        try:
            return read_table(self.root, item.result, wanted, filters, sealed=True)
        except (FileNotFoundError, DamagedFile):
            self.root.delete(item.result)
            self.again(item)
            return read_table(self.root, item.result, wanted, filters, sealed=True)
