"""All channels of one layer of a scan, compared with each other. Takes the layer's rows of two tables, gives frozen rows.

The rows of `top` and `units` are kept in memory, a few hundred bytes each, so that queries about a channel read no file.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.query import telling
from service.query.catalog import PublishedRun
from service.query.reading import read
from service.query.scans import Top, Unit
from workers.core.histogram_bins import edges
from workers.errors import QueryError, nearest
from workers.spec.scan import LEAST_MAP
from workers.store.facts import LayerFacts
from workers.store.tables.scan import TOP, UNITS

NEIGHBOURS = 8
CROWDED = 1.5  # from this multiple of the share by area on, top units crowd at the border


@dataclass(frozen=True)
class Channel(Unit):
    """A channel: its row of `units`, and the most common label of its top images.

    Attributes:
        label: most common label among the top images with a positive score; None if no two of them share a label.
        purity: share of these images that have this label.
        selectivity: see `telling.selectivities`.
    """

    label: str | None
    purity: float
    selectivity: float


@dataclass(frozen=True)
class Choice:
    """A selection of a layer's channels, and their order.

    Attributes:
        sort: "channel", "dead" (dead channels first, then the least active), or a statistic, largest first.
        at_least: smallest value of the sort column; None for any.
        at_most: largest value of the sort column; None for any.
        label: only channels with this most common label; None for all.
        dead: True for dead channels only, False for living ones only, None for both.
        channels: only these channels; None for all.
    """

    sort: str = "channel"
    at_least: float | None = None
    at_most: float | None = None
    label: str | None = None
    dead: bool | None = None
    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise QueryError(f"channels cannot be sorted by {self.sort!r}; {nearest(self.sort, SORTS)}")
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if not all(map(math.isfinite, bounds)) or bounds != sorted(bounds):
            raise QueryError(f"{self.at_least} to {self.at_most} is not a valid range of {self.sort}")

    def takes(self, channel: Channel) -> bool:
        """Whether a channel is selected."""
        value = float(getattr(channel, self.sort))
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and self.label in (None, channel.label)
            and self.dead in (None, channel.dead)
            and (self.channels is None or channel.channel in self.channels)
        )


@dataclass(frozen=True)
class Neighbour:
    """Another channel of the layer, and the number of top images that both have."""

    channel: int
    shared: int


@dataclass(frozen=True)
class Border:
    """How many of a layer's top units lie at the border of the map: their share, and the share of all units that lie there."""

    share: float
    by_area: float

    @property
    def is_crowded(self) -> bool:
        """Whether so many lie there that padding may have helped them."""
        return self.share >= CROWDED * self.by_area


@dataclass(frozen=True, eq=False)
class LayerTables:
    """One layer of a run: its rows of `top` by (channel, rank), and of `units` by channel."""

    layer: LayerFacts
    top: pa.Table
    units: pa.Table

    @cached_property
    def positive(self) -> pa.Table:
        """The rows of `top` with a positive score.

        Rows with other scores are ordered by image index, so all dead channels have the same ones, which means nothing.
        """
        return self.top.filter(pc.field("score") > 0)

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """All channels, by number."""
        labels, starts = self.positive["label"].to_pylist(), self._starts
        selective = telling.selectivities(self.units, self.top).tolist()
        rows = zip(self.units.select(_UNIT).to_pylist(), starts[:-1], starts[1:], selective, strict=True)
        return tuple(
            Channel(**row, **_label_and_purity(labels[start:stop]), selectivity=selectivity)
            for row, start, stop, selectivity in rows
        )

    @cached_property
    def border(self) -> Border | None:
        """The units at the border among those with a positive score; None if there are none, or the map has no other units."""
        height, width = self.layer.height, self.layer.width
        if min(height, width) < LEAST_MAP or not len(self.positive):
            return None
        y, x = (self.positive[name].to_numpy() for name in ("y", "x"))
        at_border = (y == 0) | (y == height - 1) | (x == 0) | (x == width - 1)
        return Border(float(at_border.mean()), 1 - (height - 2) * (width - 2) / (height * width))

    def chosen(self, choice: Choice) -> tuple[Channel, ...]:
        """The selected channels, in order; ties by channel number."""
        return tuple(sorted(filter(choice.takes, self.channels), key=_ORDERS[choice.sort]))

    def rows(self, channel: int) -> tuple[Top, ...]:
        """All top images of a channel, best first, including those whose score is not positive."""
        start, stop = self._all_starts[self.layer.require_channel(channel)], self._all_starts[channel + 1]
        return tuple(Top(**row) for row in self.top.slice(start, stop - start).to_pylist())

    def histogram(self, channel: int) -> tuple[tuple[float, float, int], ...]:
        """The histogram of a channel's scores: (lower edge, upper edge, images) of each occupied bin, ascending."""
        [row] = self.units.select(["bins", "counts"]).slice(self.layer.require_channel(channel), 1).to_pylist()
        return tuple((*edges(bin_), count) for bin_, count in zip(row["bins"], row["counts"], strict=True))

    def labels(self, channel: int) -> tuple[tuple[str, int], ...]:
        """The labels of the channel's top images and how often they occur, most common first."""
        counts = Counter(label for label in self._positive_rows(channel)["label"].to_pylist() if label is not None)
        return tuple(sorted(counts.items(), key=_most_common_first))

    def neighbours(self, channel: int) -> tuple[Neighbour, ...]:
        """The channels that share the most top images with a channel, most first."""
        images, owners = self._by_image
        own = self._positive_rows(channel)["image_index"].to_numpy()
        starts, stops = np.searchsorted(images, own), np.searchsorted(images, own, side="right")
        sharing = [owners[start:stop] for start, stop in zip(starts, stops, strict=True)]
        shared = np.bincount(np.concatenate([[channel], *sharing]), minlength=self.layer.channels)
        shared[channel] = 0
        most = np.argsort(-shared, kind="stable")[:NEIGHBOURS]
        return tuple(Neighbour(int(other), int(shared[other])) for other in most if shared[other])

    @cached_property
    def _by_image(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The images of all positive rows, ascending, and the channel of each."""
        images, owners = (self.positive[name].to_numpy() for name in ("image_index", "channel"))
        order = np.argsort(images, kind="stable")
        return images[order], owners[order]

    @cached_property
    def _starts(self) -> list[int]:
        """The first row of each channel in `positive`, and the end of the last one."""
        return self._find_starts(self.positive)

    @cached_property
    def _all_starts(self) -> list[int]:
        """The same in `top`."""
        return self._find_starts(self.top)

    def _find_starts(self, rows: pa.Table) -> list[int]:
        return [int(row) for row in np.searchsorted(rows["channel"].to_numpy(), np.arange(self.layer.channels + 1))]

    def _positive_rows(self, channel: int) -> pa.Table:
        """The channel's rows with a positive score, best first."""
        start, stop = self._starts[self.layer.require_channel(channel)], self._starts[channel + 1]
        return self.positive.slice(start, stop - start)


def dead_channels(run: PublishedRun) -> Mapping[str, int]:
    """The number of dead channels in each layer of a scan."""
    counts = read(run, UNITS, pc.scalar(True), ["layer", "dead"]).group_by("layer").aggregate([("dead", "sum")])
    return dict(zip(counts["layer"].to_pylist(), counts["dead_sum"].to_pylist(), strict=True))


def read_layer(run: PublishedRun, name: str) -> LayerTables:
    """The tables of a layer of a scan.

    Raises:
        QueryError: the run has no layer of this name.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    layer = run.layer(name)
    is_layer = pc.field("layer_index") == layer.index
    top = read(run, TOP, is_layer, [field.name for field in fields(Top)])
    units = read(run, UNITS, is_layer, [*_UNIT, "bins", "counts"])
    return LayerTables(layer, top.sort_by([("channel", "ascending"), ("rank", "ascending")]), units.sort_by("channel"))


def _label_and_purity(labels: Sequence[str | None]) -> Mapping[str, Any]:
    """The most common label and its share of all labels; ties by name. The label is None if no two images share one."""
    counts = Counter(label for label in labels if label is not None)
    label, count = min(counts.items(), key=_most_common_first, default=(None, 0))
    if not count or count < min(telling.LEAST_SHARED, len(labels)):
        return {"label": None, "purity": 0.0}
    return {"label": label, "purity": count / len(labels)}


def _most_common_first(item: tuple[str, int]) -> tuple[int, str]:
    label, count = item
    return -count, label


def _largest_first(name: str) -> Callable[[Channel], float]:
    return lambda channel: -float(getattr(channel, name))


_UNIT = [field.name for field in fields(Unit)]
_ORDERS: Mapping[str, Callable[[Channel], Any]] = {
    "channel": lambda channel: channel.channel,
    **{name: _largest_first(name) for name in ("selectivity", "max", "mean", "std", "active_share", "purity")},
    "dead": lambda channel: (not channel.dead, channel.active_share),
}
SORTS = tuple(_ORDERS)
