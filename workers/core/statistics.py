"""Statistics of channels' scores over a corpus: counts, sums and histograms. Takes and gives columns that fold; numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from workers.core.histogram_bins import LAST_BIN, bin_values

QUANTILES = (1, 10, 25, 50, 75, 90, 99)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Histograms:
    """One sparse histogram per row, one after the other.

    Attributes:
        offsets: (rows + 1,); row r has the entries from offsets[r] up to offsets[r + 1].
        bins: (entries,); the occupied bins of each row, ascending.
        counts: (entries,); the number of scores in each of these bins.
    """

    offsets: Array
    bins: Array
    counts: Array

    def fold(self, other: "Histograms") -> "Histograms":
        """The histograms of both sets of scores, of which both have the same rows."""
        keys = np.concatenate([self._keys(), other._keys()])
        counts = np.concatenate([self.counts, other.counts])
        order = np.argsort(keys, kind="stable")  # merges two sorted sequences
        keys, counts = keys[order], counts[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        rows, numbers = np.divmod(keys[starts], 2 * LAST_BIN + 1)
        return Histograms(
            offsets=np.searchsorted(rows, np.arange(len(self.offsets))),
            bins=(numbers - LAST_BIN).astype(np.int32),
            counts=np.add.reduceat(counts, starts),
        )

    def _keys(self) -> Array:
        """A number of each entry that orders the entries by row and bin."""
        rows = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        keys: Array = rows * (2 * LAST_BIN + 1) + self.bins + LAST_BIN
        return keys

    def quantiles(self) -> Array:
        """The middles of the bins of the quantiles, (rows, quantiles).

        A p % quantile is the smallest score that at least p % of a row's scores do not exceed.
        """
        cumulative = np.cumsum(self.counts)
        before = np.append(0, cumulative)[self.offsets]
        positions = np.ceil(np.array(QUANTILES) / 100 * np.diff(before)[:, None])
        return bin_values(self.bins[np.searchsorted(cumulative, before[:-1, None] + positions)])

    def columns(self) -> dict[str, pa.ListArray]:
        """The columns `bins` and `counts`, a list per row."""
        offsets = pa.array(self.offsets, pa.int32())
        return {
            "bins": pa.ListArray.from_arrays(offsets, pa.array(self.bins, pa.int32())),
            "counts": pa.ListArray.from_arrays(offsets, pa.array(self.counts, pa.int64())),
        }

    @classmethod
    def from_columns(cls, bins: pa.ListArray, counts: pa.ListArray) -> Self:
        """The histograms of two columns of lists."""
        offsets = bins.offsets.to_numpy().astype(np.int64)
        return cls(offsets - offsets[0], bins.flatten().to_numpy(), counts.flatten().to_numpy())


@dataclass(frozen=True, eq=False)
class Statistics:
    """Columns with one row per (layer, channel), sorted by these.

    Attributes:
        layer_index: position of the layer in the graph.
        channel: channel of the layer.
        images: number of scores.
        max: largest score.
        sum: sum of the scores.
        sum_of_squares: sum of the squared scores.
        active: number of scores above 0.
        histograms: of the scores.
    """

    layer_index: Array
    channel: Array
    images: Array
    max: Array
    sum: Array
    sum_of_squares: Array
    active: Array
    histograms: Histograms

    def fold(self, other: "Statistics") -> "Statistics":
        """The statistics of both sets of images. Sums are floating point, so fold each shard once, in order."""
        return Statistics(
            layer_index=self.layer_index,
            channel=self.channel,
            images=self.images + other.images,
            max=np.maximum(self.max, other.max),
            sum=self.sum + other.sum,
            sum_of_squares=self.sum_of_squares + other.sum_of_squares,
            active=self.active + other.active,
            histograms=self.histograms.fold(other.histograms),
        )

    def without_histograms(self) -> "Statistics":
        """The same statistics with empty histograms."""
        empty = np.empty(0, np.int64)
        return replace(self, histograms=Histograms(np.zeros(len(self.channel) + 1, np.int64), empty, empty))

    def to_arrow(self) -> pa.StructArray:
        """The statistics as one struct array, with fields in the order of the schema."""
        columns = {name: pa.array(getattr(self, name)) for name in _NUMBERS} | self.histograms.columns()
        return pa.StructArray.from_arrays([*columns.values()], names=[*columns])

    @classmethod
    def from_arrow(cls, array: pa.StructArray) -> Self:
        """The statistics of a struct array."""
        columns = {name: array.field(name).to_numpy(zero_copy_only=False) for name in _NUMBERS}
        return cls(**columns, histograms=Histograms.from_columns(array.field("bins"), array.field("counts")))

    def table_columns(self) -> Mapping[str, Any]:
        """The columns of `units` from `images` to `counts`."""
        mean = self.sum / self.images
        variance = np.maximum(self.sum_of_squares / self.images - mean * mean, 0)
        quantiles = self.histograms.quantiles().astype(np.float32)
        quantiles = np.minimum(quantiles, self.max[:, None])  # the middle of the last bin may exceed the maximum
        return {
            "images": self.images,
            "max": self.max,
            "mean": mean,
            "std": np.sqrt(variance),
            "active_share": self.active / self.images,
            **{f"q{percent:02d}": quantiles[:, column] for column, percent in enumerate(QUANTILES)},
            "dead": self.active == 0,
            **self.histograms.columns(),
        }


_NUMBERS = tuple(field.name for field in fields(Statistics) if field.name != "histograms")
