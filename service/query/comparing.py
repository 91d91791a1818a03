"""Two scans beside each other. Takes runs of two networks, or over two corpora, gives what their channels have in common.

An image is the same where its file is, byte for byte: ids of two corpora need not agree, and a file that was replaced between
two scans is another image. Channels are compared by their number: of two networks that were trained apart it means nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import pyarrow.compute as pc
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from service.query.catalog import PublishedRun
from service.query.layers import LayerTables, read_layer
from service.query.reading import read
from workers.core.rank_correlation import spearman
from workers.errors import QueryError
from workers.store.tables.shared import IMAGES

LEAST_RANKED = 3  # images in common, for an order of them to say something
KEPT = 16  # pairs of runs whose images in common are remembered


@dataclass(frozen=True)
class Pair:
    """The same channel of two scans.

    Attributes:
        channel: its number in both.
        shared: top images that wake both.
        overlap: the same as a share of the larger of both; None where nothing wakes either, or no image is in both corpora.
        rank_correlation: Spearman's, of the order in which both have the shared images; None below three of them.
    """

    channel: int
    shared: int
    overlap: float | None
    rank_correlation: float | None


@dataclass(frozen=True)
class LayerPair:
    """A layer of two scans.

    Attributes:
        layer: its name in both.
        channels: channels that both have.
        overlap: mean over the channels' overlaps; None where there is none.
        other_channels: mean overlap of each channel with all others of the other scan, the floor to read `overlap` against: some
            images drive many channels of any network. None where there is none.
        chance: overlap to be expected of two draws of as many images out of those in common; None without any.
        rank_correlation: mean over the channels that have one.
        channel_correlation: Spearman's, of the channels' mean scores in both: whether the same channels are loud. None where
            all of one are equal.
    """

    layer: str
    channels: int
    overlap: float | None
    other_channels: float | None
    chance: float | None
    rank_correlation: float | None
    channel_correlation: float | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two scans whose layers can be compared.

    Attributes:
        runs: both.
        layers: names of the layers in both, in the order of the first one's graph.
        in_common: images in both corpora.
    """

    runs: tuple[PublishedRun, PublishedRun]
    layers: tuple[str, ...]
    in_common: int

    def pairs(self, tables: Sequence[LayerTables]) -> tuple[Pair, ...]:
        """The channels of a layer, by number, out of what `read_layer` gives of it for both runs."""
        both = zip(*(_ranked(run, each) for run, each in zip(self.runs, tables, strict=True)), strict=False)
        return tuple(_pair(channel, *ranked, comparable=self.in_common > 0) for channel, ranked in enumerate(both))

    def layer(self, tables: Sequence[LayerTables]) -> LayerPair:
        """A layer as a whole, out of the same."""
        found = self.pairs(tables)
        one, other = (_ranked(run, each)[: len(found)] for run, each in zip(self.runs, tables, strict=True))
        means = [each.units["mean"].to_numpy()[: len(found)] for each in tables]
        k = max(run.k for run in self.runs)
        return LayerPair(
            layer=tables[0].layer.name,
            channels=len(found),
            overlap=_mean([pair.overlap for pair in found]),
            other_channels=_mismatched(one, other) if self.in_common else None,
            chance=min(1.0, k / self.in_common) if self.in_common else None,
            rank_correlation=_mean([pair.rank_correlation for pair in found]),
            channel_correlation=_order(*means),
        )


def comparison(first: PublishedRun, second: PublishedRun) -> Comparison:
    """Two scans, if they have a layer in common.

    Raises:
        QueryError: they have none, or one is no scan.
    """
    for run in (first, second):
        if run.job != "scan":
            raise QueryError(f"run {run.run!r} is of the job {run.job.value!r}; only scans can be compared")
    there = {layer.name for layer in second.layers}
    common = tuple(layer.name for layer in first.layers if layer.name in there)
    if not common:
        raise QueryError(f"runs {first.run!r} and {second.run!r} have no layer in common")
    return Comparison((first, second), common, _in_common(first, second))


def whole(compared: Comparison) -> tuple[LayerPair, ...]:
    """Every layer that both have."""
    return tuple(compared.layer([read_layer(run, name) for run in compared.runs]) for name in compared.layers)


def _order(one: NDArray[Any], other: NDArray[Any]) -> float | None:
    return spearman(one, other) if len(one) >= LEAST_RANKED else None


def _pair(channel: int, one: Mapping[str, int], other: Mapping[str, int], *, comparable: bool) -> Pair:
    """A channel by its ranked images in both."""
    shared, larger = sorted(one.keys() & other.keys()), max(len(one), len(other))
    ranks = [np.array([ranked[image] for image in shared]) for ranked in (one, other)]
    overlap = len(shared) / larger if larger and comparable else None
    return Pair(channel, len(shared), overlap, _order(*ranks))


def _mismatched(one: Sequence[Mapping[str, int]], other: Sequence[Mapping[str, int]]) -> float | None:
    """The mean overlap of each channel of one scan with every other channel of the other, as `Pair.overlap` has it.

    Pairs are many: they are counted by how many images both channels have, since only that divides.
    """
    counted = [
        [
            Counter(image for ranked in side if len(ranked) == size for image in ranked)
            for size in range(_largest(side) + 1)
        ]
        for side in (one, other)
    ]
    every = sum(
        sum(times * there[image] for image, times in here.items()) / max(size, other_size)
        for size, here in enumerate(counted[0])
        for other_size, there in enumerate(counted[1])
        if max(size, other_size)
    )
    own = sum(len(a.keys() & b.keys()) / max(len(a), len(b)) for a, b in zip(one, other, strict=True) if a or b)
    asleep = [sum(not ranked for ranked in side) for side in (one, other)]
    pairs = len(one) * len(other) - asleep[0] * asleep[1] - sum(bool(a or b) for a, b in zip(one, other, strict=True))
    return (every - own) / pairs if pairs else None


def _largest(side: Sequence[Mapping[str, int]]) -> int:
    return max(map(len, side), default=0)


def _ranked(run: PublishedRun, tables: LayerTables) -> list[dict[str, int]]:
    """Of each channel the rank of each top image that wakes it, by the image's content."""
    indices = tables.positive["image_index"]
    content = _contents(run, pc.unique(indices).to_pylist())
    found: list[dict[str, int]] = [{} for _ in range(tables.layer.channels)]
    columns = (tables.positive["channel"], tables.positive["rank"], indices)
    for channel, rank, image in zip(*(column.to_pylist() for column in columns), strict=True):
        found[channel].setdefault(content[image], rank)
    return found


def _contents(run: PublishedRun, images: list[int]) -> dict[int, str]:
    """The hashes of some images' files."""
    found = read(run, IMAGES, pc.field("image_index").isin(images), ["image_index", "sha256"])
    return dict(zip(found["image_index"].to_pylist(), found["sha256"].to_pylist(), strict=True))


def _seen(first: PublishedRun, second: PublishedRun) -> tuple[str, ...]:
    return tuple(word for run in (first, second) for word in (run.root.url, run.run, run.mark))


@cached(LRUCache(KEPT), key=_seen, lock=Lock())
def _in_common(first: PublishedRun, second: PublishedRun) -> int:
    """How many files both scans have seen."""
    hashes = [pc.unique(read(run, IMAGES, pc.scalar(True), ["sha256"])["sha256"]) for run in (first, second)]
    return int(pc.sum(pc.is_in(hashes[0], hashes[1])).as_py() or 0)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
