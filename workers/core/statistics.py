"""Statistics of channels' scores over a corpus: counts, sums and histograms. Takes and gives columns that fold; numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from workers.core.histogram_bins import LAST_BIN, bin_values

QUANTILES = (1, 10, 25, 50, 75, 90, 99)
_KEYS_PER_ROW = 2 * LAST_BIN + 1

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Histograms:
    """One sparse histogram per row, in a form that folds fast.

    Attributes:
        rows: number of rows.
        keys: (entries,), ascending; each stands for a row and one of its occupied bins.
        counts: (entries,); the number of scores in each of these bins.
    """

    rows: int
    keys: Array
    counts: Array

    @classmethod
    def make(cls, offsets: Array, bins: Array, counts: Array) -> Self:
        """Histograms from entries that are ordered by row and bin; row r has those from offsets[r] up to offsets[r + 1]."""
        row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        return cls(len(offsets) - 1, row * _KEYS_PER_ROW + bins + LAST_BIN, counts)

    @classmethod
    def from_columns(cls, bins: pa.ListArray, counts: pa.ListArray) -> Self:
        """The histograms of two columns of lists."""
        return cls.make(bins.offsets.to_numpy(), bins.flatten().to_numpy(), counts.flatten().to_numpy())

    def fold(self, other: "Histograms") -> "Histograms":
        """The histograms of both sets of scores, of which both have the same rows."""
        keys, counts = self.keys, self.counts.copy()
        places = np.searchsorted(keys, other.keys)
        is_new = keys[np.minimum(places, len(keys) - 1)] != other.keys
        if is_new.any():  # rare, once some shards have been folded
            counts[places[~is_new]] += other.counts[~is_new]
            keys = np.insert(keys, places[is_new], other.keys[is_new])
            counts = np.insert(counts, places[is_new], other.counts[is_new])
        else:
            counts[places] += other.counts  # no place occurs twice
        return Histograms(self.rows, keys, counts)

    def quantiles(self) -> Array:
        """The middles of the bins of the quantiles, (rows, quantiles).

        A p % quantile is the smallest score that at least p % of a row's scores do not exceed.
        """
        cumulative = np.cumsum(self.counts)
        before = np.append(0, cumulative)[self._offsets()]
        positions = np.ceil(np.array(QUANTILES) / 100 * np.diff(before)[:, None])
        return bin_values(self._bins()[np.searchsorted(cumulative, before[:-1, None] + positions)])

    def columns(self) -> dict[str, pa.ListArray]:
        """The columns `bins` and `counts`, a list per row."""
        offsets = pa.array(self._offsets(), pa.int32())
        return {
            "bins": pa.ListArray.from_arrays(offsets, pa.array(self._bins(), pa.int32())),
            "counts": pa.ListArray.from_arrays(offsets, pa.array(self.counts, pa.int64())),
        }

    def _offsets(self) -> Array:
        offsets: Array = np.searchsorted(self.keys, np.arange(self.rows + 1) * _KEYS_PER_ROW)
        return offsets

    def _bins(self) -> Array:
        bins: Array = self.keys % _KEYS_PER_ROW - LAST_BIN
        return bins


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
        return replace(self, histograms=Histograms(len(self.channel), empty, empty))

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
