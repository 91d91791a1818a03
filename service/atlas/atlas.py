"""What the atlas knows. Takes a root, gives published runs and their layers, each read once: what is published stays."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache

from service.query import findings
from service.query import labels as sharing
from service.query.catalog import PublishedRun
from service.query.layers import LayerTables, dead_channels, read_layer
from service.query.listing import Listing, kept
from service.query.reading import read
from workers.store.root import Root
from workers.store.tables.shared import IMAGES

LAYERS_KEPT = 64
RUNS_KEPT = 256
PAGES_KEPT = 128
BYTES_KEPT = 256_000_000  # of columns in memory

Made = TypeVar("Made")


class Atlas:
    """The published runs of a root. May be asked from many threads.

    What is kept is kept by run id and time: a run that was removed and published again is another one.
    """

    def __init__(self, root: Root) -> None:
        self.root = root
        self._listing = Listing(root)
        self._tables = kept(LRUCache(LAYERS_KEPT), self._read_layer)
        self._dead = kept(LRUCache(RUNS_KEPT), self._read_dead)
        self._labels = kept(LRUCache(RUNS_KEPT), self._read_labels)
        self._columns = kept(LRUCache(BYTES_KEPT, _bytes), self._read_columns)
        self._ids = kept(LRUCache(BYTES_KEPT, _bytes), self._read_ids)

    def runs(self) -> tuple[PublishedRun, ...]:
        """The published runs that can be understood, the newest first."""
        return self._listing.readable()[0]

    def damaged(self) -> Mapping[str, str]:
        """What is wrong with the others, by run id."""
        return self._listing.readable()[1]

    def run(self, run: str) -> PublishedRun:
        """A published run by its id; see `Listing.run`."""
        return self._listing.run(run)

    def layer(self, run: PublishedRun, layer: str) -> LayerTables:
        """A layer of a scan; see `read_layer`."""
        return self._tables(run.run, run.created, layer)

    def dead(self, run: PublishedRun) -> Mapping[str, int]:
        """How many channels of each layer of a scan are dead."""
        return self._dead(run.run, run.created)

    def labels(self, run: PublishedRun) -> tuple[str, ...]:
        """All labels of a scan's images; see `sharing.labels`."""
        return self._labels(run.run, run.created)

    def columns(self, run: PublishedRun) -> pa.Table:
        """The columns of an instrument's run; see `findings.plain_columns`."""
        return self._columns(run.run, run.created)

    def image_ids(self, run: PublishedRun) -> pa.ChunkedArray:
        """The ids of a run's images, in their order."""
        return self._ids(run.run, run.created)

    def remembering(self, ask: Callable[[Mapping[str, str]], Made]) -> Callable[[Mapping[str, str]], Made]:
        """What makes a page out of published runs alone, remembered until one is published or removed."""
        remembered = kept(LRUCache(PAGES_KEPT), lambda _, asked: ask(dict(asked)))
        return lambda asked: remembered(self._listing.version(), tuple(sorted(asked.items())))

    def _read_layer(self, run: str, created: str, layer: str) -> LayerTables:
        del created
        return read_layer(self.run(run), layer)

    def _read_dead(self, run: str, created: str) -> Mapping[str, int]:
        del created
        return dead_channels(self.run(run))

    def _read_labels(self, run: str, created: str) -> tuple[str, ...]:
        del created
        return sharing.labels(self.run(run))

    def _read_columns(self, run: str, created: str) -> pa.Table:
        del created
        return findings.plain_columns(self.run(run))

    def _read_ids(self, run: str, created: str) -> pa.ChunkedArray:
        del created
        return read(self.run(run), IMAGES, pc.scalar(True), ["image_id"])["image_id"]


def _bytes(columns: pa.Table | pa.ChunkedArray) -> int:
    return min(BYTES_KEPT, int(columns.nbytes))
