"""One layer of a scan, whole: its channels compared with each other. Takes its rows of `top` and `units`, gives frozen rows.

Both tables are kept in memory, some hundred bytes for each row, so that a question about a channel reads no file.
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

from service.query.catalog import PublishedRun
from service.query.reading import read
from service.query.scans import Top, Unit
from workers.core.statistics import edges
from workers.errors import QueryError, nearest
from workers.store.manifest import Layer
from workers.store.tables.scan import TOP, UNITS

NEIGHBOURS = 8
SHARED = 2  # images with one label, from which on it is a common one


@dataclass(frozen=True)
class Channel(Unit):
    """A channel among the others of its layer: its row of `units`, and what its top images are labelled.

    Attributes:
        label: commonest label among the top images that wake it, or None where no two have one.
        purity: share of these images that have this label.
    """

    label: str | None
    purity: float


@dataclass(frozen=True)
class Choice:
    """Which channels of a layer, and in what order.

    Attributes:
        sort: "channel", "dead" (these first, then the least active), or a statistic, largest first.
        at_least: least value of what is sorted by, or None for any.
        at_most: largest value of it, likewise.
        label: only channels whose commonest label is this.
        dead: only dead channels, or only living ones; None for both.
    """

    sort: str = "channel"
    at_least: float | None = None
    at_most: float | None = None
    label: str | None = None
    dead: bool | None = None

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise QueryError(f"channels cannot be sorted by {self.sort!r}; {nearest(self.sort, SORTS)}")
        bounds = [each for each in (self.at_least, self.at_most) if each is not None]
        if not all(map(math.isfinite, bounds)) or bounds != sorted(bounds):
            raise QueryError(f"no {self.sort} is from {self.at_least} to {self.at_most}")

    def takes(self, channel: Channel) -> bool:
        """Whether a channel is one of them."""
        value = float(getattr(channel, self.sort))
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and self.label in (None, channel.label)
            and self.dead in (None, channel.dead)
        )


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
    def positive(self) -> pa.Table:
        """The rows of `top` whose score is positive: what a channel shows when it is awake.

        The others are there too, by image index: all dead channels have the same ones, which says nothing about them.
        """
        return self.top.filter(pc.field("score") > 0)

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Every channel, in order."""
        labels, starts = self.positive["label"].to_pylist(), self._starts
        return tuple(
            Channel(**row, **_purest(labels[start:stop]))
            for row, start, stop in zip(self.units.select(_UNIT).to_pylist(), starts[:-1], starts[1:], strict=True)
        )

    def chosen(self, choice: Choice) -> tuple[Channel, ...]:
        """Some channels, in an order; equal ones by their number."""
        return tuple(sorted(filter(choice.takes, self.channels), key=_ORDERS[choice.sort]))

    def rows(self, channel: int) -> tuple[Top, ...]:
        """The channel's images, best first, those too that do not wake it."""
        start, stop = self._whole[self.layer.require_channel(channel)], self._whole[channel + 1]
        return tuple(Top(**row) for row in self.top.slice(start, stop - start).to_pylist())

    def awake(self, channel: int) -> frozenset[str]:
        """The ids of the top images that wake the channel."""
        return frozenset(self._awake(channel)["image_id"].to_pylist())

    def histogram(self, channel: int) -> tuple[tuple[float, float, int], ...]:
        """The channel's scores: lower edge, upper edge, images; occupied bins only, ascending."""
        [row] = self.units.select(["bins", "counts"]).slice(self.layer.require_channel(channel), 1).to_pylist()
        return tuple((*edges(bin_), count) for bin_, count in zip(row["bins"], row["counts"], strict=True))

    def labels(self, channel: int) -> tuple[tuple[str, int], ...]:
        """Labels among the channel's top images, the commonest first."""
        found = Counter(label for label in self._awake(channel)["label"].to_pylist() if label is not None)
        return tuple(sorted(found.items(), key=lambda each: (-each[1], each[0])))

    def neighbours(self, channel: int) -> tuple[Neighbour, ...]:
        """The channels that share most top images with one, most first."""
        images, owners = self._by_image
        mine = self._awake(channel)["image_index"].to_numpy()
        starts, stops = np.searchsorted(images, mine), np.searchsorted(images, mine, side="right")
        sharing = [owners[start:stop] for start, stop in zip(starts, stops, strict=True)]
        shared = np.bincount(np.concatenate([[channel], *sharing]), minlength=self.layer.channels)
        shared[channel] = 0
        most = np.argsort(-shared, kind="stable")[:NEIGHBOURS]
        return tuple(Neighbour(int(each), int(shared[each])) for each in most if shared[each])

    @cached_property
    def _by_image(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Images of all positive rows, ascending, and the channel of each."""
        images, owners = (self.positive[name].to_numpy() for name in ("image_index", "channel"))
        order = np.argsort(images, kind="stable")
        return images[order], owners[order]

    @cached_property
    def _starts(self) -> list[int]:
        """Where each channel's positive rows begin, and where the last one's end."""
        return self._begins(self.positive)

    @cached_property
    def _whole(self) -> list[int]:
        """The same of all rows."""
        return self._begins(self.top)

    def _begins(self, rows: pa.Table) -> list[int]:
        return [int(at) for at in np.searchsorted(rows["channel"].to_numpy(), np.arange(self.layer.channels + 1))]

    def _awake(self, channel: int) -> pa.Table:
        """The channel's positive rows, best first."""
        start, stop = self._starts[self.layer.require_channel(channel)], self._starts[channel + 1]
        return self.positive.slice(start, stop - start)


def dead_channels(run: PublishedRun) -> Mapping[str, int]:
    """How many channels of each layer of a scan no image wakes."""
    found = read(run, UNITS, pc.scalar(True), ["layer", "dead"]).group_by("layer").aggregate([("dead", "sum")])
    return dict(zip(found["layer"].to_pylist(), found["dead_sum"].to_pylist(), strict=True))


def read_layer(run: PublishedRun, name: str) -> LayerTables:
    """A layer of a scan.

    Raises:
        QueryError: the run has no such layer.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    about = run.layer(name)
    here = pc.field("layer_index") == about.index
    top = read(run, TOP, here, [field.name for field in fields(Top)])
    units = read(run, UNITS, here, [*_UNIT, "bins", "counts"])
    return LayerTables(
        about, top.sort_by([("channel", "ascending"), ("rank", "ascending")]), units.sort_by([("channel", "ascending")])
    )


def _purest(labels: Sequence[str | None]) -> Mapping[str, Any]:
    """The commonest label and its share of all; of equally common ones the first by name. None of them if all differ."""
    counted = Counter(label for label in labels if label is not None)
    label, count = min(counted.items(), key=lambda each: (-each[1], each[0]), default=(None, 0))
    if not count or count < min(SHARED, len(labels)):
        return {"label": None, "purity": 0.0}
    return {"label": label, "purity": count / len(labels)}


def _largest_first(name: str) -> Callable[[Channel], float]:
    return lambda channel: -float(getattr(channel, name))


_UNIT = [field.name for field in fields(Unit)]
_ORDERS: Mapping[str, Callable[[Channel], Any]] = {
    "channel": lambda channel: channel.channel,
    **{name: _largest_first(name) for name in ("max", "mean", "std", "active_share", "purity")},
    "dead": lambda channel: (not channel.dead, channel.active_share),
}
SORTS = tuple(_ORDERS)
