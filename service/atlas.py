"""What the atlas knows. Takes a root, gives published runs and their layers, each read once: what is published stays."""

from functools import lru_cache

from service import catalog
from service.catalog import PublishedRun
from service.query.layers import LayerTables, read_layer
from workers.store.root import Root

LAYERS_KEPT = 64


class Atlas:
    """The published runs of a root. May be asked from many threads."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._tables = lru_cache(LAYERS_KEPT)(self._read)

    def runs(self) -> tuple[PublishedRun, ...]:
        """All published runs, the newest first."""
        return catalog.runs(self.root)

    def run(self, run: str) -> PublishedRun:
        """A published run by its id; see `catalog.find`."""
        return catalog.find(self.root, run, None)

    def layer(self, run: PublishedRun, layer: str) -> LayerTables:
        """A layer of a scan; see `read_layer`."""
        return self._tables(run.run, run.created, layer)

    def _read(self, run: str, created: str, layer: str) -> LayerTables:
        del created  # a run that was removed and published again is another one
        return read_layer(self.run(run), layer)
