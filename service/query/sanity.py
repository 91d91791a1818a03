"""Curves of the randomisation check. Takes rows of `sanity`, gives each layer's similarity by stage, and its floor."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.store.tables.sanity import SANITY

Row = Mapping[str, Any]
METRICS = {
    "rank_correlation": "rank correlation",
    "rank_correlation_abs": "rank correlation of absolute values",
    "ssim": "structural similarity (SSIM)",
}
METHODS = {"deconvnet": "deconvnet", "guided_backprop": "guided backpropagation", "gradient": "gradient"}
FLOOR = "other_channel"


@dataclass(frozen=True)
class Point:
    """The similarity of some projections to those of the trained network; None if no pair can be compared.

    Attributes:
        median: median similarity.
        low: first quartile.
        high: third quartile.
        count: number of projections that could be compared.
        blank: number of projections that were 0 everywhere.
    """

    median: float | None
    low: float | None
    high: float | None
    count: int
    blank: int


@dataclass(frozen=True)
class Curves:
    """The check of one layer.

    Attributes:
        layer: name of the layer.
        stages: names of the stages, from the top down.
        units: number of units that were checked.
        seeds: seeds of the random networks.
        points: by metric, mode and method, a point per stage; stage 0 is the trained network.
        floors: by metric and method, the similarity of the trained network's projections of other channels at the same location.
    """

    layer: str
    stages: tuple[str, ...]
    units: int
    seeds: tuple[int, ...]
    points: Mapping[tuple[str, str, str], tuple[Point, ...]]
    floors: Mapping[tuple[str, str], Point]

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes of randomisation."""
        return tuple(sorted({mode for _, mode, _ in self.points}))

    @property
    def blank(self) -> int:
        """The number of random networks' projections that were 0 everywhere, over all modes and methods."""
        curves = [points for (metric, _, _), points in self.points.items() if metric == "ssim"]
        return sum(point.blank for points in curves for point in points)


def unit_of(row: Row) -> tuple[int, int, int]:
    """The key of a unit: layer index, channel, and the rank of its image."""
    return row["layer_index"], row["channel"], row["rank"]


def curves(rows: Iterable[Row]) -> tuple[Curves, ...]:
    """The curves of each layer, in the order of the graph."""
    layers = defaultdict[tuple[int, str], list[Row]](list)
    for row in rows:
        layers[row["layer_index"], row["layer"]].append(row)
    return tuple(_curves(name, layers[index, name]) for index, name in sorted(layers))


def read_floors(check: PublishedRun) -> Mapping[tuple[str, str], float]:
    """By layer and method, the median rank correlation of the trained network's projections of different channels at one place.

    Raises:
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    values = defaultdict[tuple[str, str], list[float]](list)
    for row in read(check, SANITY, pc.field("mode") == FLOOR, ["layer", "method", "rank_correlation"]).to_pylist():
        if row["rank_correlation"] is not None:
            values[row["layer"], row["method"]].append(row["rank_correlation"])
    return {key: float(np.median(correlations)) for key, correlations in values.items()}


def _curves(layer: str, rows: Sequence[Row]) -> Curves:
    groups = defaultdict[tuple[str, str, int], list[Row]](list)
    for row in rows:
        groups[row["mode"], row["method"], row["stage"]].append(row)
    names = dict(sorted((row["stage"], row["stage_node"]) for row in rows if row["stage"]))
    modes = sorted({row["mode"] for row in rows} - {"trained", FLOOR})
    points = {
        (metric, mode, method): (
            _point(groups["trained", method, 0], metric),
            *(_point(groups[mode, method, stage], metric) for stage in names),
        )
        for metric in METRICS
        for mode in modes
        for method in METHODS
    }
    floors = {(metric, method): _point(groups[FLOOR, method, 0], metric) for metric in METRICS for method in METHODS}
    seeds = sorted({row["seed"] for row in rows if row["seed"] is not None})
    return Curves(layer, tuple(names.values()), len({unit_of(row) for row in rows}), tuple(seeds), points, floors)


def _point(rows: Sequence[Row], metric: str) -> Point:
    values = [row[metric] for row in rows if row[metric] is not None]
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist() if values else (None, None, None)
    return Point(median, low, high, len(values), sum(row["status"] == "blank" for row in rows))
