"""The best matches between two scans of any networks. Takes two runs and a layer of the first, gives a match for each channel.

Numbers and layers say nothing about channels of networks that were trained independently. Their top images do, if both scans
saw the same files. If the scans keep different numbers of top images, the smaller number is compared.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TypeVar

import numpy as np
import pyarrow.compute as pc
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from service.query.catalog import PublishedRun
from service.query.comparing import Pair, cache_key, count_common, count_files, mean, rank_correlation
from service.query.match_by import MatchBy, SortBy
from service.query.reading import read
from workers.errors import QueryError
from workers.store.tables.scan import TOP
from workers.store.tables.shared import IMAGES

RUNS_KEPT = 4  # scans whose top files are cached; 200,000 of them take some 30 MB

Ranks = Mapping[str, int]  # of a channel's top files, by their hash


@dataclass(frozen=True)
class Match:
    """A channel of the first scan, and the channel of the second scan with the largest overlap.

    Equal overlaps: the larger rank correlation, then the earlier layer, then the smaller number.

    Attributes:
        channel: number of the channel.
        layer: name of the other channel's layer; None if no channel shares a top image.
        other: number of the other channel; None likewise.
        shared: number of top images with a positive score that both have.
        overlap: `shared` as a share of the larger number of top images; None if the channel has none.
        rank_correlation: Spearman's rank correlation of the shared images; None for fewer than three.
    """

    channel: int
    layer: str | None
    other: int | None
    shared: int
    overlap: float | None
    rank_correlation: float | None


Compared = TypeVar("Compared", bound=Pair | Match)


@dataclass(frozen=True)
class LayerMatch:
    """A layer of the first scan as a whole.

    Attributes:
        layer: its name.
        channels: number of its channels.
        overlap: mean of the matches' overlaps; None if there are none.
        chance: expected overlap of the best match if every living channel of both scans had top images drawn at random.
        matched_layer: the layer of the second scan that most matches are in; None if there are no matches.
    """

    layer: str
    channels: int
    overlap: float | None
    chance: float
    matched_layer: str | None


class TopFiles:
    """The top files of all channels of a scan.

    Args:
        run: the scan.
        k: how many files of each channel are taken, the best ones.
    """

    def __init__(self, run: PublishedRun, k: int) -> None:
        self.run, self.k = run, k
        self.places = [(layer.name, channel) for layer in run.layers for channel in range(layer.channels)]
        self._starts = dict(zip((layer.name for layer in run.layers), _sum_before(run), strict=True))
        self.ranks = _rank_files(run, self._starts, k)
        self.sizes = np.array([len(ranks) for ranks in self.ranks])
        self.living = int((self.sizes > 0).sum())

    def of_layer(self, name: str) -> Sequence[Ranks]:
        """The ranks of the files of each channel of a layer."""
        start = self._starts[name]
        return self.ranks[start : start + self.run.layer(name).channels]


class Candidates:
    """The channels of a scan among which matches are sought.

    Args:
        top: their files.
    """

    def __init__(self, top: TopFiles) -> None:
        self.top = top
        owners: defaultdict[str, list[int]] = defaultdict(list)
        for number, ranks in enumerate(top.ranks):
            for file in ranks:
                owners[file].append(number)
        self._owners = {file: np.array(numbers) for file, numbers in owners.items()}

    def match(self, channel: int, ranks: Ranks) -> Match:
        """The best match of a channel, given the ranks of its files."""
        best = self._find_best(ranks)
        if best is None:
            return Match(channel, None, None, 0, 0.0 if ranks else None, None)
        (layer, other), theirs = self.top.places[best], self.top.ranks[best]
        shared = len(ranks.keys() & theirs.keys())
        return Match(channel, layer, other, shared, shared / max(len(ranks), len(theirs)), _correlate(ranks, theirs))

    def _find_best(self, ranks: Ranks) -> int | None:
        sharing = [self._owners[file] for file in ranks if file in self._owners]
        if not sharing:
            return None
        shared: NDArray[np.int64] = np.bincount(np.concatenate(sharing), minlength=len(self.top.places))
        overlaps = shared / np.maximum(len(ranks), self.top.sizes)
        best: list[int] = np.flatnonzero(overlaps == overlaps.max()).tolist()
        return max(best, key=lambda number: _correlate_or_least(ranks, self.top.ranks[number]))  # the first of equals


def match_layers(
    first: PublishedRun, second: PublishedRun, names: Sequence[str] | None = None
) -> Iterator[tuple[LayerMatch, tuple[Match, ...]]]:
    """Layers of the first scan as a whole, with the best match of each of their channels, by number.

    Args:
        first: a scan.
        second: a scan, all of whose layers are considered.
        names: names of layers of the first scan; all by default.

    Raises:
        QueryError: the corpora share no file, or the first scan has no such layer.
    """
    chosen = [first.layer(name).name for name in names or [layer.name for layer in first.layers]]
    if not count_common(first, second):
        raise QueryError(f"runs {first.run!r} and {second.run!r} have no file in common, so channels cannot be matched")
    k = min(first.k, second.k)
    top, candidates = _top_files(first, k), _candidates(second, k)
    chance = _chance(first, second, k, candidates.top.living)
    for name in chosen:
        matches = tuple(candidates.match(channel, ranks) for channel, ranks in enumerate(top.of_layer(name)))
        layers = Counter(match.layer for match in matches if match.layer is not None)
        matched = max(layers, key=lambda layer: layers[layer], default=None)
        yield LayerMatch(name, len(matches), mean([match.overlap for match in matches]), chance, matched), matches


def ways_to_match(first: PublishedRun, second: PublishedRun, common: Sequence[str]) -> tuple[MatchBy, ...]:
    """The ways in which the channels of two scans can be matched, the default first; `common` are the layers that both have."""
    by_number = (MatchBy.NUMBER,) if common else ()
    return (*by_number, MatchBy.OVERLAP) if not common or count_common(first, second) else by_number


def sort_pairs(pairs: Sequence[Compared], sort: SortBy, match: MatchBy) -> tuple[Compared, ...]:
    """Compared channels of a layer in another order; those without the value come last.

    Channels of the same number come with the smallest value first, as they changed most; best matches with the largest.
    """
    sign = 1 if match is MatchBy.NUMBER else -1

    def key(pair: Compared) -> tuple[bool, float]:
        value = getattr(pair, sort)
        return value is None, sign * (value or 0.0)

    return tuple(pairs if sort is SortBy.CHANNEL else sorted(pairs, key=key))


@lru_cache
def expected_best(files: tuple[int, int], in_common: int, k: int, channels: int) -> float:
    """The expected largest overlap of k random files of one corpus with draws of k random files of another.

    Args:
        files: number of files of both corpora.
        in_common: number of files that both have.
        k: number of files that are drawn; all of a corpus if it has fewer.
        channels: number of draws from the second corpus.
    """
    own, drawn = (min(k, count) for count in files)
    expected = 0.0
    for m in range(min(own, in_common) + 1):  # of the files of the first draw, those that the second corpus has
        weight = _hypergeometric(m, files[0], in_common, own)
        at_most = np.cumsum([_hypergeometric(n, files[1], m, drawn) for n in range(min(m, drawn) + 1)])
        expected += weight * float(np.sum(1.0 - np.minimum(at_most, 1.0) ** channels))  # the sum of P(largest > n)
    return expected / max(own, drawn)


def _hypergeometric(hits: int, population: int, successes: int, draws: int) -> float:
    """The probability of so many successes among draws without replacement."""
    misses = draws - hits
    if misses > population - successes:
        return 0.0
    return math.comb(successes, hits) * math.comb(population - successes, misses) / math.comb(population, draws)


def _chance(first: PublishedRun, second: PublishedRun, k: int, living: int) -> float:
    return expected_best((count_files(first), count_files(second)), count_common(first, second), k, living)


@cached(LRUCache(RUNS_KEPT), key=lambda run, k: (*cache_key(run), k), lock=Lock())
def _top_files(run: PublishedRun, k: int) -> TopFiles:
    return TopFiles(run, k)


@cached(LRUCache(RUNS_KEPT), key=lambda run, k: (*cache_key(run), k), lock=Lock())
def _candidates(run: PublishedRun, k: int) -> Candidates:
    return Candidates(_top_files(run, k))


def _sum_before(run: PublishedRun) -> Iterator[int]:
    """The number of channels in the layers before each layer."""
    total = 0
    for layer in run.layers:
        yield total
        total += layer.channels


def _rank_files(run: PublishedRun, starts: Mapping[str, int], k: int) -> list[dict[str, int]]:
    """For each channel, the ranks of its best files with a positive score; a file that is there twice has its better rank."""
    images = read(run, IMAGES, pc.scalar(True), ["image_index", "sha256"])
    hashes = dict(zip(images["image_index"].to_pylist(), images["sha256"].to_pylist(), strict=True))
    top = read(run, TOP, pc.field("score") > 0, ["layer", "channel", "rank", "image_index"]).sort_by("rank")
    ranks: list[dict[str, int]] = [{} for _ in range(sum(layer.channels for layer in run.layers))]
    for layer, channel, rank, image in zip(*(column.to_pylist() for column in top.columns), strict=True):
        files = ranks[starts[layer] + channel]
        if len(files) < k:
            files.setdefault(hashes[image], rank)
    return ranks


def _correlate(one: Ranks, other: Ranks) -> float | None:
    """The rank correlation of the files that both channels have."""
    shared = sorted(one.keys() & other.keys())
    return rank_correlation(*(np.array([side[file] for file in shared]) for side in (one, other)))


def _correlate_or_least(one: Ranks, other: Ranks) -> float:
    """The same; less than any correlation if there is none."""
    correlation = _correlate(one, other)
    return -2.0 if correlation is None else correlation
