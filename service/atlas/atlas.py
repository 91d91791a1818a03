"""The published runs of a root, cached. Takes a root, gives runs, layers and columns; what is published never changes."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache

from service.query import findings
from service.query import labels as sharing
from service.query.catalog import PublishedRun
from service.query.layers import LayerTables, dead_channels, read_layer
from service.query.listing import RunListing, memoized
from service.query.reading import read
from workers.store.root import Root
from workers.store.tables.shared import IMAGES

LAYERS_KEPT = 64
RUNS_KEPT = 256
PAGES_KEPT = 128
BYTES_KEPT = 256_000_000  # of columns

Made = TypeVar("Made")


class Atlas:
    """The published runs of a root. Safe to use from many threads.

    Caches are keyed by run id and mark: a run that was removed and published again, or given other labels, is another run.
    """

    def __init__(self, root: Root) -> None:
        self.root = root
        self._listing = RunListing(root)
        self._tables = memoized(LRUCache(LAYERS_KEPT), self._read_layer)
        self._dead = memoized(LRUCache(RUNS_KEPT), self._read_dead)
        self._labels = memoized(LRUCache(RUNS_KEPT), self._read_labels)
        self._columns = memoized(LRUCache(BYTES_KEPT, _bytes), self._read_columns)
        self._ids = memoized(LRUCache(BYTES_KEPT, _bytes), self._read_ids)

    def runs(self) -> tuple[PublishedRun, ...]:
        """The published runs whose manifests can be read, the newest first."""
        return self._listing.readable()[0]

    def damaged(self) -> Mapping[str, str]:
        """Why the manifests of the others cannot be read, by run id."""
        return self._listing.readable()[1]

    def run(self, run: str) -> PublishedRun:
        """A published run by its id; see `Listing.run`."""
        return self._listing.run(run)

    def layer(self, run: PublishedRun, layer: str) -> LayerTables:
        """A layer of a scan; see `read_layer`."""
        return self._tables(run.run, run.mark, layer)

    def dead(self, run: PublishedRun) -> Mapping[str, int]:
        """The number of dead channels in each layer of a scan."""
        return self._dead(run.run, run.mark)

    def labels(self, run: PublishedRun) -> tuple[str, ...]:
        """All labels of a scan's images; see `sharing.labels`."""
        return self._labels(run.run, run.mark)

    def columns(self, run: PublishedRun) -> pa.Table:
        """The columns of an instrument's run; see `findings.plain_columns`."""
        return self._columns(run.run, run.mark)

    def image_ids(self, run: PublishedRun) -> pa.ChunkedArray:
        """The ids of a run's images, in the order of the images."""
        return self._ids(run.run, run.mark)

    def cached(self, make: Callable[[Mapping[str, str]], Made]) -> Callable[[Mapping[str, str]], Made]:
        """A function that makes a page from published runs alone, with its results cached until a run is published or removed."""
        make_once = memoized(LRUCache(PAGES_KEPT), lambda _, parameters: make(dict(parameters)))
        return lambda parameters: make_once(self._listing.version(), tuple(sorted(parameters.items())))

    def _read_layer(self, run: str, mark: str, layer: str) -> LayerTables:
        del mark
        return read_layer(self.run(run), layer)

    def _read_dead(self, run: str, mark: str) -> Mapping[str, int]:
        del mark
        return dead_channels(self.run(run))

    def _read_labels(self, run: str, mark: str) -> tuple[str, ...]:
        del mark
        return sharing.labels(self.run(run))

    def _read_columns(self, run: str, mark: str) -> pa.Table:
        del mark
        return findings.plain_columns(self.run(run))

    def _read_ids(self, run: str, mark: str) -> pa.ChunkedArray:
        del mark
        return read(self.run(run), IMAGES, pc.scalar(True), ["image_id"])["image_id"]


def _bytes(columns: pa.Table | pa.ChunkedArray) -> int:
    return min(BYTES_KEPT, int(columns.nbytes))
