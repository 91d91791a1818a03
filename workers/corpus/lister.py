"""Listing of a corpus into a file. Takes a corpus spec, writes Parquet; detects a storage that fails or does not answer."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workers.corpus import entries
from workers.corpus.crew import wait_for_answer
from workers.corpus.entries import ListedImage
from workers.errors import CorpusError
from workers.host.hangs import Limit
from workers.host.retrying import may_pass, reason
from workers.sources.source import Tally
from workers.spec.parts import CorpusSpec
from workers.store.tables.shared import MANIFEST

GROUP_ROWS = 8192
LISTED = pa.schema([field for field in MANIFEST if field.name != "removed"])


@dataclass(eq=False)
class Lister:
    """Lists a corpus. Every call starts from the beginning.

    Attributes:
        corpus: the corpus to list.
        target: file to write.
        watch: called with the number of files listed so far.
        limit: how long the storage may be silent.
        total: number of files that all calls together have listed.
        tally: what the last call skipped.
    """

    corpus: CorpusSpec
    target: Path
    watch: Callable[[int], None]
    limit: Limit
    total: int = 0
    tally: Tally = field(default_factory=Tally)

    def __call__(self) -> int:
        """Write the file; gives the number of files. A failure before the first file is not worth a retry."""
        count, self.tally = 0, Tally()
        try:
            pages = wait_for_answer(self._pages, self.corpus.source, self.limit)
            with pq.ParquetWriter(self.target, LISTED) as writer:
                while page := wait_for_answer(lambda: next(pages, []), self.corpus.source, self.limit):
                    writer.write_table(pa.Table.from_pylist([vars(entry) for entry in page], schema=LISTED))
                    count += len(page)
                    self.watch(count)
        except Exception as error:
            if not self.total and may_pass(error):
                raise self.refusal(error) from error
            raise
        return count

    def refusal(self, error: Exception) -> CorpusError:
        """The error for a corpus that cannot be listed."""
        place = getattr(error, "filename", None)
        return CorpusError(
            f"corpus {self.corpus.source!r} cannot be listed: {reason(error)}{f': {place}' if place else ''}"
        )

    def _pages(self) -> Iterator[list[ListedImage]]:
        return _split(self._count(entries.listing(self.corpus, self.limit, self.tally)), GROUP_ROWS)

    def _count(self, listing: Iterator[ListedImage]) -> Iterator[ListedImage]:
        for entry in listing:
            self.total += 1
            yield entry


def _split(listing: Iterable[ListedImage], size: int) -> Iterator[list[ListedImage]]:
    """The entries in lists of at most `size`."""
    waiting: list[ListedImage] = []
    for entry in listing:
        waiting.append(entry)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
