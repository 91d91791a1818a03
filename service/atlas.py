"""What the atlas knows. Takes a root, gives published runs and their layers, each read once: what is published stays.

A layer is kept as two tables in memory, its rows of `top` and of `units`: some hundred bytes for each row, so that a page
about a channel reads no file but for its pictures.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service import catalog, query
from service.catalog import Layer, PublishedRun
from service.query import Top, Unit
from workers.core.statistics import edges
from workers.errors import QueryError, nearest
from workers.store.root import Root
from workers.store.schema import TOP, UNITS

LAYERS_KEPT = 64
NEIGHBOURS = 8
SORTS = ("channel", "max", "mean", "active_share", "purity", "dead")


@dataclass(frozen=True)
class Channel:
    """A channel among the others of its layer.

    Attributes:
        channel: index along the feature map's first axis.
        max: its largest score.
        mean: its mean score over all images.
        active_share: share of the images with a positive score.
        dead: no image has one.
        label: commonest label among its top images, or None where there are none.
        purity: share of its top images that have this label.
    """

    channel: int
    max: float
    mean: float
    active_share: float
    dead: bool
    label: str | None
    purity: float


@dataclass(frozen=True)
class Neighbour:
    """Another channel of the layer, and how many of its top images are the same."""

    channel: int
    shared: int


@dataclass(frozen=True, eq=False)
class LayerTables:
    """One layer of a run: rows of `top` by (channel, rank), and of `units` by channel."""

    layer: Layer
    top: pa.Table
    units: pa.Table

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Every channel, in order."""
        labels, starts = self.top["label"].to_pylist(), self._starts
        return tuple(
            Channel(**row, **_purest(labels[start:stop]))
            for row, start, stop in zip(self.units.select(_CHANNEL).to_pylist(), starts[:-1], starts[1:], strict=True)
        )

    def sorted(self, sort: str, label: str | None = None) -> tuple[Channel, ...]:
        """The channels by a statistic, the largest first; those alone whose commonest label is the given one.

        Raises:
            QueryError: there is no such order.
        """
        if sort not in SORTS:
            raise QueryError(f"channels cannot be sorted by {sort!r}; {nearest(sort, SORTS)}")
        found = [each for each in self.channels if label is None or each.label == label]
        return tuple(found if sort == "channel" else sorted(found, key=lambda each: -float(getattr(each, sort))))

    def rows(self, channel: int) -> tuple[Top, ...]:
        """The channel's images, best first."""
        return tuple(Top(**row) for row in self._of(channel).to_pylist())

    def unit(self, channel: int) -> Unit:
        """The channel's statistics."""
        row = self.units.slice(self._known(channel), 1).to_pylist()[0]
        return Unit(**{name: value for name, value in row.items() if name not in ("bins", "counts")})

    def histogram(self, channel: int) -> tuple[tuple[float, float, int], ...]:
        """The channel's scores: lower edge, upper edge, images; occupied bins only, ascending."""
        row = self.units.slice(self._known(channel), 1).to_pylist()[0]
        return tuple((*edges(bin_), count) for bin_, count in zip(row["bins"], row["counts"], strict=True))

    def labels(self, channel: int) -> tuple[tuple[str, int], ...]:
        """Labels among the channel's top images, the commonest first."""
        found = Counter(row.label for row in self.rows(channel) if row.label is not None)
        return tuple(sorted(found.items(), key=lambda each: (-each[1], each[0])))

    def neighbours(self, channel: int) -> tuple[Neighbour, ...]:
        """The channels that share most top images with one, most first."""
        mine = self._of(channel)["image_index"].combine_chunks()
        sharing = self.top.filter(pc.field("image_index").isin(mine) & (pc.field("channel") != channel))
        counted = Counter(sharing["channel"].to_pylist())
        return tuple(Neighbour(*each) for each in sorted(counted.items(), key=lambda e: (-e[1], e[0]))[:NEIGHBOURS])

    @cached_property
    def _starts(self) -> list[int]:
        """Where each channel's rows of `top` begin, and where the last one's end."""
        found = np.searchsorted(self.top["channel"].to_numpy(), np.arange(self.layer.channels + 1))
        return [int(start) for start in found]

    def _of(self, channel: int) -> pa.Table:
        """The channel's rows of `top`, best first."""
        start, stop = self._starts[self._known(channel)], self._starts[channel + 1]
        return self.top.slice(start, stop - start)

    def _known(self, channel: int) -> int:
        if not 0 <= channel < self.layer.channels:
            raise QueryError(
                f"no channel {channel} in layer {self.layer.name!r}; it has 0 to {self.layer.channels - 1}"
            )
        return channel


_CHANNEL = ["channel", "max", "mean", "active_share", "dead"]


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
        """A layer of a scan.

        Raises:
            QueryError: the run has no such layer.
        """
        return self._tables(run.run, run.created, run.layer(layer).name)

    def _read(self, run: str, created: str, layer: str) -> LayerTables:
        del created  # a run that was removed and published again is another one
        found = self.run(run)
        about = found.layer(layer)
        here = pc.field("layer_index") == about.index
        top = query.read(found, TOP, here, list(Top.__dataclass_fields__))
        units = query.read(found, UNITS, here, [*Unit.__dataclass_fields__, "bins", "counts"])
        by = [("channel", "ascending")]
        return LayerTables(about, top.sort_by([*by, ("rank", "ascending")]), units.sort_by(by))


def _purest(labels: Sequence[str | None]) -> dict[str, Any]:
    """The commonest label and its share of all; of equally common ones the first by name."""
    counted = Counter(label for label in labels if label is not None)
    if not counted:
        return {"label": None, "purity": 0.0}
    label, count = min(counted.items(), key=lambda each: (-each[1], each[0]))
    return {"label": label, "purity": count / len(labels)}
