"""A corpus listed into a file. Takes a corpus spec, writes Parquet; notices a storage that fails or does not answer."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workers.corpus import entries
from workers.corpus.crew import answered
from workers.errors import CorpusError
from workers.host.hangs import Limit
from workers.host.retrying import may_pass, reason
from workers.spec.parts import CorpusSpec
from workers.store.tables.shared import MANIFEST

GROUP_ROWS = 8192
LISTED = pa.schema([field for field in MANIFEST if field.name != "removed"])


@dataclass(eq=False)
class Lister:
    """Lists a corpus; called again it restarts.

    Attributes:
        corpus: what to list.
        target: file to write.
        watch: is told the number of files found so far.
        limit: how long the storage may be silent.
        seen: files that all tries together have found.
    """

    corpus: CorpusSpec
    target: Path
    watch: Callable[[int], None]
    limit: Limit
    seen: int = 0

    def __call__(self) -> int:
        """Write the file; gives the number of files. A storage that has listed nothing yet is not waited for."""
        count = 0
        try:
            pages = answered(self._pages, self.corpus.source, self.limit)
            with pq.ParquetWriter(self.target, LISTED) as writer:
                while page := answered(lambda: next(pages, []), self.corpus.source, self.limit):
                    writer.write_table(pa.Table.from_pylist([vars(entry) for entry in page], schema=LISTED))
                    count += len(page)
                    self.watch(count)
        except Exception as error:
            if not self.seen and may_pass(error):
                raise self.refusal(error) from error
            raise
        return count

    def refusal(self, error: Exception) -> CorpusError:
        """What is said of a corpus that cannot be listed."""
        place = getattr(error, "filename", None)
        return CorpusError(
            f"corpus {self.corpus.source!r} cannot be listed: {reason(error)}{f': {place}' if place else ''}"
        )

    def _pages(self) -> Iterator[list[entries.Listed]]:
        return _batched(self._entries(entries.listing(self.corpus, self.limit)), GROUP_ROWS)

    def _entries(self, listing: Iterator[entries.Listed]) -> Iterator[entries.Listed]:
        for entry in listing:
            self.seen += 1
            yield entry


def _batched(listing: Iterable[entries.Listed], size: int) -> Iterator[list[entries.Listed]]:
    """The entries in lists of at most `size`."""
    waiting: list[entries.Listed] = []
    for entry in listing:
        waiting.append(entry)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
