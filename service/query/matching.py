"""The best matches between two scans of any networks. Takes two runs and a layer of the first, gives a match for each channel.

Numbers and layers say nothing about channels of networks that were trained independently. Their top images do, if both scans
saw the same files.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.query.catalog import PublishedRun
from service.query.comparing import count_common, mean, rank_correlation, rank_files
from service.query.layers import LayerTables, read_layer
from workers.errors import QueryError


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


@dataclass(frozen=True)
class LayerMatch:
    """A layer of the first scan as a whole.

    Attributes:
        layer: its name.
        channels: number of its channels.
        overlap: mean of the matches' overlaps; None if there are none.
        chance: expected overlap of the best match if all channels of the second scan drew their top images at random from the
            files that both corpora have; None if there are none.
        matched_layer: the layer of the second scan that most matches are in; None if there are no matches.
    """

    layer: str
    channels: int
    overlap: float | None
    chance: float | None
    matched_layer: str | None


class Candidates:
    """All channels of a scan, by the images that activate them most.

    Args:
        run: the scan.
        layers: the tables of its layers.
    """

    def __init__(self, run: PublishedRun, layers: Sequence[LayerTables]) -> None:
        self.run = run
        self.places = [(tables.layer.name, channel) for tables in layers for channel in range(tables.layer.channels)]
        self.ranks = [ranks for tables in layers for ranks in rank_files(run, tables)]
        self._sizes = np.array([len(ranks) for ranks in self.ranks])
        owners: defaultdict[str, list[int]] = defaultdict(list)
        for number, ranks in enumerate(self.ranks):
            for image in ranks:
                owners[image].append(number)
        self._owners = {image: np.array(numbers) for image, numbers in owners.items()}

    def find_best(self, ranks: Mapping[str, int]) -> int | None:
        """The number of the best match of a channel, given its images and their ranks; None if none shares an image."""
        sharing = [self._owners[image] for image in ranks if image in self._owners]
        if not sharing:
            return None
        numbers, shared = np.unique(np.concatenate(sharing), return_counts=True)
        overlaps = shared / np.maximum(len(ranks), self._sizes[numbers])
        best: list[int] = numbers[overlaps == overlaps.max()].tolist()
        return max(best, key=lambda number: _correlate_or_least(ranks, self.ranks[number]))  # the first of equals

    def match(self, channel: int, ranks: Mapping[str, int]) -> Match:
        """The best match of a channel."""
        best = self.find_best(ranks)
        if best is None:
            return Match(channel, None, None, 0, 0.0 if ranks else None, None)
        layer, other = self.places[best]
        shared = len(ranks.keys() & self.ranks[best].keys())
        overlap = shared / max(len(ranks), len(self.ranks[best]))
        return Match(channel, layer, other, shared, overlap, _correlate(ranks, self.ranks[best]))


def match_layer(run: PublishedRun, layer: LayerTables, candidates: Candidates) -> tuple[LayerMatch, tuple[Match, ...]]:
    """A layer as a whole, and the best match of each of its channels, by number.

    Raises:
        QueryError: the corpora share no file.
    """
    in_common = count_common(run, candidates.run)
    if not in_common:
        raise QueryError(
            f"runs {run.run!r} and {candidates.run.run!r} have no file in common, so channels cannot be matched"
        )
    matches = tuple(candidates.match(channel, ranks) for channel, ranks in enumerate(rank_files(run, layer)))
    layers = Counter(match.layer for match in matches if match.layer is not None)
    whole = LayerMatch(
        layer=layer.layer.name,
        channels=len(matches),
        overlap=mean([match.overlap for match in matches]),
        chance=expected_best(in_common, (run.k, candidates.run.k), len(candidates.places)),
        matched_layer=max(layers, key=lambda name: layers[name], default=None),
    )
    return whole, matches


def match_layers(
    first: PublishedRun, second: PublishedRun, names: Sequence[str] | None = None
) -> Iterator[tuple[LayerMatch, tuple[Match, ...]]]:
    """Layers of the first scan, matched with all layers of the second.

    Raises:
        QueryError: the corpora share no file.
    """
    candidates = Candidates(second, [read_layer(second, layer.name) for layer in second.layers])
    for name in names or [layer.name for layer in first.layers]:
        yield match_layer(first, read_layer(first, name), candidates)


def expected_best(images: int, ks: tuple[int, int], channels: int) -> float:
    """The expected largest overlap of some images with random draws, one per channel.

    Args:
        images: number of images that are drawn from.
        ks: number of images of the channel, and of each draw; both at most `images`, or they are cut to it.
        channels: number of draws.
    """
    own, drawn = (min(k, images) for k in ks)
    ways = math.comb(images, drawn)
    shares = [math.comb(own, n) * math.comb(images - own, drawn - n) / ways for n in range(min(own, drawn) + 1)]
    at_most = np.minimum(np.cumsum(shares), 1.0)
    return float(np.sum(1.0 - at_most**channels)) / max(own, drawn)  # the sum of P(largest > n) is the expected largest


def _correlate(one: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """The rank correlation of the images that both channels have."""
    shared = sorted(one.keys() & other.keys())
    return rank_correlation(*(np.array([side[image] for image in shared]) for side in (one, other)))


def _correlate_or_least(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """The same; less than any correlation if there is none."""
    correlation = _correlate(one, other)
    return -2.0 if correlation is None else correlation
