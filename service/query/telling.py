"""Which channels tell the most. Takes rows of `units` and `top` of a scan, gives selectivities, and the first to look at."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.store.tables.scan import TOP, UNITS

TELLING = 18  # channels of a layer that are chosen
CANDIDATES = 16 * TELLING  # the most selective channels, from which they are chosen
LEAST_SHARED = 2  # top images that must have a label, or a predicted class, for it to count as common
UNIT_COLUMNS = ["layer_index", "channel", "images", "mean", "std", "dead"]
TOP_COLUMNS = ["layer_index", "channel", "score", "image_index", "label"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TellingChannel:
    """A channel that is worth a look: of its `top` top images with a positive score, `images` have its most common label."""

    layer_index: int
    channel: int
    label: str | None
    images: int
    top: int
    selectivity: float


@dataclass(frozen=True, eq=False)
class Overview:
    """All channels of a scan, one row each, ordered by layer and channel.

    Attributes:
        layer_index: layer.
        channel: channel.
        label: index of the most common label in `labels`; -1 if no two top images share one.
        images: number of top images with that label.
        top: number of top images with a positive score.
        selectivity: see `selectivities`.
        labels: the labels.
        telling: the channels of each layer to look at first, by its index.
    """

    layer_index: Ints
    channel: Ints
    label: Ints
    images: Ints
    top: Ints
    selectivity: Floats
    labels: tuple[str, ...]
    telling: Mapping[int, tuple[TellingChannel, ...]]

    @property
    def nbytes(self) -> int:
        """The memory of the rows."""
        return 6 * self.channel.nbytes

    def at(self, row: int) -> TellingChannel:
        """The channel in a row."""
        return TellingChannel(
            int(self.layer_index[row]),
            int(self.channel[row]),
            self.labels[self.label[row]] if self.label[row] >= 0 else None,
            int(self.images[row]),
            int(self.top[row]),
            float(self.selectivity[row]),
        )

    def find(self, layer_index: int, channel: int) -> TellingChannel:
        """A channel of a layer."""
        row = np.searchsorted(self._keys, layer_index << 32 | channel)
        return self.at(int(row))

    def selectivity_of(self, keys: Ints) -> Floats:
        """The selectivities of channels, given as `layer_index << 32 | channel`."""
        return self.selectivity[np.searchsorted(self._keys, keys)]

    def matching(self, words: str, limit: int) -> tuple[TellingChannel, ...]:
        """The channels whose most common label contains the words in any case, the largest shares first."""
        wanted = [number for number, label in enumerate(self.labels) if words.lower() in label.lower()]
        return self._ordered(np.flatnonzero(np.isin(self.label, wanted)), limit)

    def with_label(self, label: str, limit: int) -> tuple[TellingChannel, ...]:
        """The channels whose most common label is this one, the largest shares first."""
        return self._ordered(self._rows_of(label), limit)

    def count_of_label(self, label: str) -> int:
        """The number of channels whose most common label is this one."""
        return len(self._rows_of(label))

    def _rows_of(self, label: str) -> Ints:
        return np.flatnonzero(self.label == self._numbers[label]) if label in self._numbers else np.array([], np.int64)

    @cached_property
    def _keys(self) -> Ints:
        return self.layer_index << 32 | self.channel

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    def _ordered(self, rows: Ints, limit: int) -> tuple[TellingChannel, ...]:
        order = np.lexsort((rows, -self.selectivity[rows], -self.images[rows] / np.maximum(self.top[rows], 1)))
        return tuple(map(self.at, rows[order[:limit]].tolist()))


def read_overview(run: PublishedRun) -> Overview:
    """The channels of a scan.

    Raises:
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    key = [("layer_index", "ascending"), ("channel", "ascending")]
    units = read(run, UNITS, pc.scalar(True), UNIT_COLUMNS).sort_by(key)
    top = read(run, TOP, pc.scalar(True), TOP_COLUMNS)
    groups = _groups(units, top)
    common, labels = _common_labels(groups, top, len(units))
    selective = _selectivities(groups, top, units, common[1])
    images = _TopImages(groups, top, len(units))
    living = ~units["dead"].to_numpy(zero_copy_only=False)
    layers, channels = (units[name].to_numpy().astype(np.int64) for name in ("layer_index", "channel"))
    overview = Overview(layers, channels, *common, images.counts, selective, labels, {})
    telling = {
        int(layer): _choose(overview, np.flatnonzero((layers == layer) & living), images) for layer in np.unique(layers)
    }
    return replace(overview, telling=telling)


def selectivities(units: pa.Table, top: pa.Table) -> Floats:
    """How selective channels are, one number for each row of `units`; 0 for dead channels.

    It is the correlation, over all images, between being one of the channel's top images and the score, or 0 if all images are;
    plus, where images have labels, the share of the top images that have the most common one. The correlation is 1 if the
    channel has one score for its top images and another for all other images.

    Args:
        units: rows of `units`, with `UNIT_COLUMNS`, ordered by layer and channel.
        top: rows of `top` of these channels, with `TOP_COLUMNS`.
    """
    groups = _groups(units, top)
    return _selectivities(groups, top, units, _common_labels(groups, top, len(units))[0][1])


def _selectivities(groups: Ints, top: pa.Table, units: pa.Table, common: Ints) -> Floats:
    images, mean, std = (units[name].to_numpy().astype(float) for name in ("images", "mean", "std"))
    count = np.bincount(groups, minlength=len(units))
    sums = np.bincount(groups, top["score"].to_numpy(), minlength=len(units))
    living = (count > 0) & ~units["dead"].to_numpy(zero_copy_only=False)
    varies = living & (count < images) & (std > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = count / images
        correlation = (sums / count - mean) / std * np.sqrt(share / (1 - share))
        labelled = common / count
    return np.where(living, np.where(varies, np.clip(correlation, 0, 1), 0.0) + labelled, 0.0)


def _common_labels(groups: Ints, top: pa.Table, channels: int) -> tuple[tuple[Ints, Ints], tuple[str, ...]]:
    """For each channel the index of its most common label and the number of its images, and all labels by name."""
    coded = pc.dictionary_encode(top["label"]).combine_chunks()
    names = coded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    position = np.empty(len(names) + 1, np.int64)
    position[order], position[-1] = np.arange(len(names)), -1
    codes = position[coded.indices.fill_null(-1).to_numpy()]
    counted = (codes >= 0) & (top["score"].to_numpy() > 0)
    keys, counts = np.unique(groups[counted] * max(1, len(names)) + codes[counted], return_counts=True)
    owner, code = np.divmod(keys, max(1, len(names)))
    first = np.lexsort((code, -counts, owner))  # of each channel the most common label first, ties by name
    owners, at = np.unique(owner[first], return_index=True)
    label, images = np.full(channels, -1), np.zeros(channels, np.int64)
    common = counts[first[at]] >= LEAST_SHARED
    label[owners[common]], images[owners[common]] = code[first[at]][common], counts[first[at]][common]
    return (label, images), tuple(names[number] for number in order)


def _groups(units: pa.Table, top: pa.Table) -> Ints:
    """The row of `units` that each row of `top` belongs to."""
    own, wanted = (
        table["layer_index"].to_numpy().astype(np.int64) << 32 | table["channel"].to_numpy() for table in (units, top)
    )
    rows: Ints = np.searchsorted(own, wanted)
    return rows


class _TopImages:
    """The top images of each channel with a positive score, by its row."""

    def __init__(self, groups: Ints, top: pa.Table, channels: int) -> None:
        positive = top["score"].to_numpy() > 0
        order = np.argsort(groups[positive], kind="stable")
        self._images: NDArray[Any] = top["image_index"].to_numpy()[positive][order]
        self._starts = np.searchsorted(groups[positive][order], np.arange(channels + 1))

    @property
    def counts(self) -> Ints:
        """The number of images of each channel."""
        return np.diff(self._starts)

    def of(self, row: int) -> frozenset[int]:
        return frozenset(self._images[self._starts[row] : self._starts[row + 1]].tolist())


def _choose(overview: Overview, rows: Ints, images: _TopImages) -> tuple[TellingChannel, ...]:
    """The most selective of some channels, each label once, and no two that share half of their top images.

    If these are too few, other channels with the same labels follow, then those that share images.
    """
    order = rows[np.argsort(-overview.selectivity[rows], kind="stable")][:CANDIDATES].tolist()
    shown = dict[int, frozenset[int]]()
    for is_label_new in (True, False):
        for row in order:
            labels = {int(overview.label[other]) for other in shown} if is_label_new else set()
            own = images.of(row)
            is_image_new = not any(2 * len(own & other) >= len(own) for other in shown.values())
            if len(shown) < TELLING and row not in shown and is_image_new and overview.label[row] not in labels - {-1}:
                shown[row] = own
    rest = [row for row in order if row not in shown]
    return tuple(overview.at(row) for row in [*shown, *rest][:TELLING])
