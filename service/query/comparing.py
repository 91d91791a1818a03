"""Comparison of two scans. Takes published runs of two networks, or over two corpora, gives the overlap of their channels.

Two images are the same if their files are equal byte for byte: ids may differ between corpora, and a file that was replaced
between two scans is another image. Channels are compared by number, which means nothing if the networks were trained
independently.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from service.query.catalog import PublishedRun
from service.query.layers import LayerTables, read_layer
from service.query.reading import read
from workers.core.rank_correlation import spearman
from workers.errors import QueryError
from workers.store.tables.shared import IMAGES

LEAST_RANKED = 3  # values that a rank correlation needs
CACHED_PAIRS = 16  # pairs of runs whose number of common images is cached


@dataclass(frozen=True)
class Pair:
    """The same channel of two scans.

    Attributes:
        channel: number of the channel in both.
        shared: number of top images with a positive score that both have.
        overlap: `shared` as a share of the larger number of top images; None if both have none, or the corpora share no image.
        rank_correlation: Spearman's rank correlation of the shared images; None for fewer than three.
    """

    channel: int
    shared: int
    overlap: float | None
    rank_correlation: float | None


@dataclass(frozen=True)
class LayerPair:
    """A layer of two scans.

    Attributes:
        layer: name of the layer in both.
        channels: number of channels that both have.
        overlap: mean of the channels' overlaps; None if there are none.
        other_channels: mean overlap of each channel with all other channels of the other scan, a floor for `overlap`: some
            images activate many channels of any network. None if there are none.
        chance: expected overlap of two random draws of k images, one from each corpus; None if no image is common.
        rank_correlation: mean of the channels' rank correlations; None if there are none.
        channel_correlation: Spearman's rank correlation of the channels' mean scores: whether the same channels have large
            scores. None if all means of one scan are equal.
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
        runs: the two scans.
        layers: names of the layers that both have, in the order of the first scan's graph.
        in_common: number of images in both corpora.
    """

    runs: tuple[PublishedRun, PublishedRun]
    layers: tuple[str, ...]
    in_common: int

    def pairs(self, tables: Sequence[LayerTables]) -> tuple[Pair, ...]:
        """The channels of a layer, by number, given the layer's tables in both runs (see `read_layer`)."""
        one, other = (rank_files(run, layer) for run, layer in zip(self.runs, tables, strict=True))
        comparable = self.in_common > 0
        ranks = enumerate(zip(one, other, strict=False))
        return tuple(_pair(channel, *both, comparable=comparable) for channel, both in ranks)

    def layer(self, tables: Sequence[LayerTables]) -> LayerPair:
        """A layer as a whole, given the same tables."""
        pairs = self.pairs(tables)
        one, other = (rank_files(run, layer)[: len(pairs)] for run, layer in zip(self.runs, tables, strict=True))
        means = [layer.units["mean"].to_numpy()[: len(pairs)] for layer in tables]
        return LayerPair(
            layer=tables[0].layer.name,
            channels=len(pairs),
            overlap=mean([pair.overlap for pair in pairs]),
            other_channels=_mismatched(one, other) if self.in_common else None,
            chance=self._chance() if self.in_common else None,
            rank_correlation=mean([pair.rank_correlation for pair in pairs]),
            channel_correlation=rank_correlation(*means),
        )

    def _chance(self) -> float:
        """Each common image is in both draws with the product of two probabilities."""
        files = [count_files(run) for run in self.runs]
        draws = [min(run.k, count) for run, count in zip(self.runs, files, strict=True)]
        return self.in_common * min(draws) / (files[0] * files[1])


def comparison(first: PublishedRun, second: PublishedRun) -> Comparison:
    """The comparison of two scans.

    Raises:
        QueryError: the scans have no layer in common, or a run is not a scan.
    """
    common = common_layers(first, second)
    if not common:
        raise QueryError(
            f"runs {first.run!r} and {second.run!r} have no layer in common: match their channels by overlap"
        )
    return Comparison((first, second), common, count_common(first, second))


def common_layers(first: PublishedRun, second: PublishedRun) -> tuple[str, ...]:
    """The names of the layers that both scans have, in the order of the first scan's graph.

    Raises:
        QueryError: a run is not a scan.
    """
    for run in (first, second):
        if run.job != "scan":
            raise QueryError(f"run {run.run!r} is of kind {run.job.value!r}; only scans can be compared")
    names = {layer.name for layer in second.layers}
    return tuple(layer.name for layer in first.layers if layer.name in names)


def compare_layers(compared: Comparison) -> tuple[LayerPair, ...]:
    """All layers that both scans have."""
    return tuple(compared.layer([read_layer(run, name) for run in compared.runs]) for name in compared.layers)


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float | None:
    """Spearman's rank correlation; None for fewer than three values, or if one side is constant."""
    return spearman(one, other) if len(one) >= LEAST_RANKED else None


def _pair(channel: int, one: Mapping[str, int], other: Mapping[str, int], *, comparable: bool) -> Pair:
    """Compare a channel, given its images and their ranks in both scans."""
    shared, larger = sorted(one.keys() & other.keys()), max(len(one), len(other))
    ranks = [np.array([scan[image] for image in shared]) for scan in (one, other)]
    overlap = len(shared) / larger if larger and comparable else None
    return Pair(channel, len(shared), overlap, rank_correlation(*ranks))


def _mismatched(one: Sequence[Mapping[str, int]], other: Sequence[Mapping[str, int]]) -> float | None:
    """The mean `Pair.overlap` of each channel of one scan with every other channel of the other scan.

    There are too many pairs to visit. Channels are grouped by their number of images, since all pairs of two groups have the
    same divisor.
    """
    counted = [
        [
            Counter(image for channel in side if len(channel) == size for image in channel)
            for size in range(_largest(side) + 1)
        ]
        for side in (one, other)
    ]
    every = sum(
        sum(times * other_counts[image] for image, times in counts.items()) / max(size, other_size)
        for size, counts in enumerate(counted[0])
        for other_size, other_counts in enumerate(counted[1])
        if max(size, other_size)
    )
    own = sum(len(a.keys() & b.keys()) / max(len(a), len(b)) for a, b in zip(one, other, strict=True) if a or b)
    dead = [sum(not channel for channel in side) for side in (one, other)]
    pairs = len(one) * len(other) - dead[0] * dead[1] - sum(bool(a or b) for a, b in zip(one, other, strict=True))
    return (every - own) / pairs if pairs else None


def _largest(side: Sequence[Mapping[str, int]]) -> int:
    return max(map(len, side), default=0)


def rank_files(run: PublishedRun, tables: LayerTables) -> list[dict[str, int]]:
    """For each channel, the ranks of its top images with a positive score, by the hash of the image's file."""
    indices = tables.positive["image_index"]
    hashes = _hashes(run, pc.unique(indices).to_pylist())
    ranks: list[dict[str, int]] = [{} for _ in range(tables.layer.channels)]
    columns = (tables.positive["channel"], tables.positive["rank"], indices)
    for channel, rank, image in zip(*(column.to_pylist() for column in columns), strict=True):
        ranks[channel].setdefault(hashes[image], rank)
    return ranks


def _hashes(run: PublishedRun, images: list[int]) -> dict[int, str]:
    """The hashes of images' files, by image index."""
    table = read(run, IMAGES, pc.field("image_index").isin(images), ["image_index", "sha256"])
    return dict(zip(table["image_index"].to_pylist(), table["sha256"].to_pylist(), strict=True))


def cache_key(*runs: PublishedRun) -> tuple[str, ...]:
    """What names published runs for as long as they exist."""
    return tuple(part for run in runs for part in (run.root.url, run.run, run.mark))


@cached(LRUCache(CACHED_PAIRS), key=cache_key, lock=Lock())
def count_common(first: PublishedRun, second: PublishedRun) -> int:
    """The number of files in both corpora."""
    hashes = [_all_hashes(run) for run in (first, second)]
    return int(pc.sum(pc.is_in(hashes[0], hashes[1])).as_py() or 0)


@cached(LRUCache(CACHED_PAIRS), key=cache_key, lock=Lock())
def count_files(run: PublishedRun) -> int:
    """The number of different files in a corpus."""
    return len(_all_hashes(run))


def _all_hashes(run: PublishedRun) -> pa.Array:
    """The hashes of all files of a corpus, each once."""
    return pc.unique(read(run, IMAGES, pc.scalar(True), ["sha256"])["sha256"])


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
