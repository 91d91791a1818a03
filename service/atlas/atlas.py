"""The published runs of a root, cached. Takes a root, gives runs, layers and columns; what is published never changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache

from jobs.texts import Texts
from service.query import findings, sanity
from service.query import labels as sharing
from service.query.catalog import PublishedRun, unpublished
from service.query.concepts import Concepts, find_scan, newest_embedding, read_concepts
from service.query.layers import LayerTables, dead_channels, read_layer
from service.query.listing import RunListing, memoized
from service.query.notes import NoteBook, Notes
from service.query.predicted import Predictions, read_predictions
from service.query.reading import read
from service.query.syntheses import Synthesis, is_comparable, read_syntheses
from service.query.telling import Overview, read_overview
from workers.errors import DamagedRun
from workers.host import log
from workers.host.log import Log
from workers.kinds import Kind
from workers.store.root import Root
from workers.store.tables.scan import PREDICTIONS
from workers.store.tables.shared import IMAGES

LAYERS_KEPT = 64
RUNS_KEPT = 256
PAGES_KEPT = 128
BYTES_KEPT = 256_000_000  # of columns

Made = TypeVar("Made")


class Atlas:
    """The published runs of a root. Safe to use from many threads.

    Caches are keyed by `_Key`.

    Attributes:
        root: the root.
        notebook: the notes under it.
        has_cards: whether pages of channels link to their cards, which other sites may embed.
        texts: embeds the texts of searches; None if there are no searches.

    Args:
        root: the root.
        only: ids of the runs that exist for this atlas; None for all.
        hides_paths: whether pages leave out where models and corpora are.
        has_cards: see the attribute.
        texts: see the attribute.
    """

    def __init__(
        self,
        root: Root,
        only: frozenset[str] | None = None,
        *,
        hides_paths: bool = False,
        has_cards: bool = False,
        texts: Texts | None = None,
    ) -> None:
        self.root, self._only, self._hides_paths = root, only, hides_paths
        self.has_cards, self.texts = has_cards, texts
        self._listing = RunListing(root)
        self.notebook = NoteBook(root)
        self._tables = memoized(LRUCache(LAYERS_KEPT), _read_layer)
        self._dead = memoized(LRUCache(RUNS_KEPT), _read_dead)
        self._labels = memoized(LRUCache(RUNS_KEPT), _read_labels)
        self._columns = memoized(LRUCache(BYTES_KEPT, _bytes), _read_columns)
        self._ids = memoized(LRUCache(BYTES_KEPT, _bytes), _read_ids)
        self._floors = memoized(LRUCache(RUNS_KEPT), _read_floors)
        self._predictions = memoized(LRUCache(BYTES_KEPT, _bytes), _read_predictions)
        self._overviews = memoized(LRUCache(BYTES_KEPT, _bytes), _read_overview)
        self._concepts = memoized(LRUCache(BYTES_KEPT, _bytes), _read_concepts)
        self._syntheses = memoized(LRUCache(RUNS_KEPT), _read_syntheses)

    def runs(self) -> tuple[PublishedRun, ...]:
        """The published runs whose manifests can be read, the newest first."""
        readable = self._listing.readable()[0]
        return tuple(self._as_shown(run) for run in readable if self._only is None or run.run in self._only)

    def damaged(self) -> Mapping[str, str]:
        """Why the manifests of the others cannot be read, by run id."""
        return self._listing.readable()[1] if self._only is None else {}

    def run(self, run: str) -> PublishedRun:
        """A published run by its id; see `Listing.run`."""
        if self._only is not None and run not in self._only:
            raise unpublished(self.root, run, self._only)
        return self._as_shown(self._listing.run(run))

    def _as_shown(self, run: PublishedRun) -> PublishedRun:
        return replace(run, hides_paths=True) if self._hides_paths else run

    def layer(self, run: PublishedRun, layer: str) -> LayerTables:
        """A layer of a scan; see `read_layer`."""
        return self._tables(_Key.of(run), layer)

    def dead(self, run: PublishedRun) -> Mapping[str, int]:
        """The number of dead channels in each layer of a scan."""
        return self._dead(_Key.of(run))

    def overview(self, run: PublishedRun) -> Overview:
        """All channels of a scan, and the first to look at."""
        return self._overviews(_Key.of(run))

    def predictions(self, run: PublishedRun) -> Predictions | None:
        """The classes that a scan's network gives its top images; None if it has no predictions."""
        return self._predictions(_Key.of(run)) if PREDICTIONS.name in run.tables else None

    def synthesis(self, run: PublishedRun, layer: str, channel: int) -> tuple[PublishedRun, Synthesis] | None:
        """The newest synthetic image of a channel of a scan's network, and the run that made it; None if there is none."""
        for other in self.runs():
            if other.job == Kind.SYNTHESISE and is_comparable(other, run):
                made = self._made(other).get((layer, channel))
                if made is not None:
                    return other, made
        return None

    def _made(self, run: PublishedRun) -> Mapping[tuple[str, int], Synthesis]:
        """The synthetic images of a run, by layer and channel; none if its files are damaged."""
        try:
            return self._syntheses(_Key.of(run))
        except DamagedRun as error:  # the pages of a scan do not depend on it
            Log().say(f"synthesis {run.run} is left out of the pages of scans: {error}", log.WARNING)
            return {}

    def concepts(self, run: PublishedRun) -> Concepts:
        """The directions of the channels that a run of `concepts` embedded."""
        return self._concepts(_Key.of(run))

    def embedded(self, scan: PublishedRun, layer: str) -> PublishedRun | None:
        """The newest run that embedded the channels of a layer of a scan; None if there is none."""
        return newest_embedding(self.runs(), scan, layer)

    def embedded_scan(self, run: PublishedRun) -> PublishedRun | None:
        """The scan whose channels a run embedded; None if it was removed."""
        return find_scan(self.runs(), run)

    def labels(self, run: PublishedRun) -> tuple[str, ...]:
        """All labels of a scan's images; see `sharing.labels`."""
        return self._labels(_Key.of(run))

    def notes(self, run: PublishedRun) -> Notes:
        """The notes on the channels of a run's network."""
        return self.notebook.of(run.fingerprint)

    def columns(self, run: PublishedRun) -> pa.Table:
        """The columns of an instrument's run; see `findings.plain_columns`."""
        return self._columns(_Key.of(run))

    def floor(self, check: PublishedRun, layer: str, method: str) -> float | None:
        """How similar a check found the projections of a layer's channels; see `read_floors`. None if its files are damaged."""
        try:
            return self._floors(_Key.of(check)).get((layer, method))
        except DamagedRun as error:  # the pages of the scan do not depend on it
            Log().say(f"check {check.run} is left out of the pages of its scan: {error}", log.WARNING)
            return None

    def image_ids(self, run: PublishedRun) -> pa.ChunkedArray:
        """The ids of a run's images, in the order of the images."""
        return self._ids(_Key.of(run))

    def cached(self, make: Callable[[Mapping[str, str]], Made]) -> Callable[[Mapping[str, str]], Made]:
        """A function that makes a page from published runs alone, with its results cached until a run is published or removed."""
        make_once = memoized(LRUCache(PAGES_KEPT), lambda _, parameters: make(dict(parameters)))
        return lambda parameters: make_once(self._listing.version(), tuple(sorted(parameters.items())))


@dataclass(frozen=True)
class _Key:
    """A run as a key of caches: with other labels, or published again under the same id, it is another one."""

    id: str
    version: str
    run: PublishedRun = field(compare=False)

    @classmethod
    def of(cls, run: PublishedRun) -> Self:
        return cls(run.run, run.version, run)


def _read_layer(key: _Key, layer: str) -> LayerTables:
    return read_layer(key.run, layer)


def _read_dead(key: _Key) -> Mapping[str, int]:
    return dead_channels(key.run)


def _read_overview(key: _Key) -> Overview:
    return read_overview(key.run)


def _read_labels(key: _Key) -> tuple[str, ...]:
    return sharing.labels(key.run)


def _read_columns(key: _Key) -> pa.Table:
    return findings.plain_columns(key.run)


def _read_floors(key: _Key) -> Mapping[tuple[str, str], float]:
    return sanity.read_floors(key.run)


def _read_predictions(key: _Key) -> Predictions | None:
    return read_predictions(key.run)


def _read_syntheses(key: _Key) -> Mapping[tuple[str, int], Synthesis]:
    return read_syntheses(key.run)


def _read_concepts(key: _Key) -> Concepts:
    return read_concepts(key.run)


def _read_ids(key: _Key) -> pa.ChunkedArray:
    return read(key.run, IMAGES, pc.scalar(True), ["image_id"])["image_id"]


def _bytes(columns: pa.Table | pa.ChunkedArray | Overview | Predictions | Concepts | None) -> int:
    return min(BYTES_KEPT, int(columns.nbytes)) if columns is not None else 1
