"""Channels by meaning. Takes a run of `concepts`, gives the channels nearest to a direction, and maps of layers."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.query import naming
from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.core.concepts import Floats, similarities
from workers.errors import QueryError
from workers.kinds import Kind
from workers.store.facts import content_of
from workers.store.tables.concepts import CONCEPTS
from workers.store.tables.scan import PATCHES

_COLUMNS = ["layer_index", "channel", "patches", "embedding", "agreement", "map_x", "map_y"]


@dataclass(frozen=True)
class Near:
    """A channel near a direction.

    Attributes:
        layer: its layer.
        channel: its number.
        similarity: cosine of the angle between them; 1 if they are the same.
        agreement: how alike the channel's patches are, from 0 to 1.
        number: number of its row in the table.
    """

    layer: str
    channel: int
    similarity: float
    agreement: float
    number: int


@dataclass(frozen=True, eq=False)
class Concepts:
    """The directions of the channels of a run. Arrays have a row for each channel that has one.

    Attributes:
        names: names of the layers, by their index.
        number: number of the row in the table.
        layer_index: layer.
        channel: channel.
        agreement: how alike its patches are, from 0 to 1.
        places: x and y in the map of its layer, from 0 to 1.
        directions: (channels, dimensions), of length 1.
    """

    names: Mapping[int, str]
    number: NDArray[np.int64]
    layer_index: NDArray[np.int64]
    channel: NDArray[np.int64]
    agreement: Floats
    places: Floats
    directions: Floats

    @property
    def nbytes(self) -> int:
        """The memory of the directions, by far the largest part."""
        return self.directions.nbytes

    def nearest(
        self, direction: Floats, limit: int, layer: str | None = None, without: int | None = None
    ) -> tuple[Near, ...]:
        """The channels whose directions are nearest to one, the nearest first.

        Args:
            direction: (dimensions), of length 1.
            limit: how many.
            layer: only channels of this layer.
            without: number of a row that is left out.
        """
        if not len(self.number):
            return ()
        cosines = similarities(self.directions, direction)
        kept = self.number != without if without is not None else np.ones(len(cosines), bool)
        if layer is not None:
            kept &= self.layer_index == self._index_of(layer)
        rows = np.flatnonzero(kept)
        order = rows[np.lexsort((rows, -cosines[rows]))][:limit]
        return tuple(self._near(int(row), float(cosines[row])) for row in order)

    def position(self, layer: str, channel: int) -> int | None:
        """The position of a channel in the arrays; None if it has no direction, because it is dead or was left out."""
        own = np.flatnonzero((self.layer_index == self._index_of(layer)) & (self.channel == channel))
        return int(own[0]) if len(own) else None

    def of_layer(self, layer: str) -> NDArray[np.int64]:
        """The positions of a layer's channels in the arrays."""
        positions: NDArray[np.int64] = np.flatnonzero(self.layer_index == self._index_of(layer))
        return positions

    def _index_of(self, layer: str) -> int:
        """The index of a layer; -1 if the run has no such layer."""
        return next((index for index, name in self.names.items() if name == layer), -1)

    def _near(self, row: int, similarity: float) -> Near:
        name = self.names[int(self.layer_index[row])]
        return Near(name, int(self.channel[row]), similarity, float(self.agreement[row]), int(self.number[row]))


def read_concepts(run: PublishedRun) -> Concepts:
    """The directions of the channels of a run.

    Raises:
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    table = read(run, CONCEPTS, pc.scalar(True), _COLUMNS)
    living = table["patches"].to_numpy() > 0
    rows = table.filter(living)
    directions = rows["embedding"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1 if len(rows) else 0)
    return Concepts(
        names={layer.index: layer.name for layer in run.layers},
        number=np.flatnonzero(living),
        layer_index=rows["layer_index"].to_numpy().astype(np.int64),
        channel=rows["channel"].to_numpy().astype(np.int64),
        agreement=rows["agreement"].to_numpy(),
        places=np.stack([rows["map_x"].to_numpy(), rows["map_y"].to_numpy()], axis=1),
        directions=directions,
    )


def scan_of(run: PublishedRun) -> str:
    """The id of the scan whose channels a run embedded."""
    return run.sections.concepts.from_run if run.sections.concepts else ""


def encoder_of(run: PublishedRun) -> str:
    """The name of the image-text model of a run."""
    return naming.encoder_name(run.encoder.source) if run.encoder else ""


def find_scan(runs: Iterable[PublishedRun], run: PublishedRun) -> PublishedRun | None:
    """The scan whose channels a run embedded; None if it is gone, or if its id is that of another one now."""
    return next((scan for scan in runs if scan.run == scan_of(run) and embeds(run, scan)), None)


def embeds(run: PublishedRun, scan: PublishedRun) -> bool:
    """Whether a run embedded the channels of a scan."""
    is_named = run.job == Kind.CONCEPTS and scan.job == Kind.SCAN and scan_of(run) == scan.run
    return is_named and run.patches == content_of(scan.tables.get(PATCHES.name, ()))


def newest_embedding(runs: Iterable[PublishedRun], scan: PublishedRun, layer: str | None = None) -> PublishedRun | None:
    """The first of some runs that embedded the channels of a scan, or of a layer of it; runs are sorted, the newest first."""
    embedded = (run for run in runs if embeds(run, scan))
    return next((run for run in embedded if layer is None or layer in {own.name for own in run.layers}), None)


def require_embedded(runs: Iterable[PublishedRun], scan: PublishedRun, layer: str | None = None) -> PublishedRun:
    """The newest run that embedded a scan's channels, or those of a layer.

    Raises:
        QueryError: there is none.
    """
    if layer is not None:
        scan.layer(layer)
    run = newest_embedding(runs, scan, layer)
    if run is None:
        what = f"run {scan.run!r}" if layer is None else f"layer {layer!r} of run {scan.run!r}"
        raise QueryError(
            f"the channels of {what} are not embedded; run `deconvoy concepts --root ROOT --from-run {scan.run} "
            "--encoder hf-hub:ORG/NAME@REVISION`"
        )
    return run


def tile_share(channels: int) -> float:
    """The side of a tile on a map of some channels, as a share of the map's side: together, tiles cover about half of it."""
    return min(0.14, max(0.03, math.sqrt(0.5 / max(1, channels))))
