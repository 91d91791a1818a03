"""Channels by what the network sees. Takes a scan and a word, gives the channels whose top images have such a class."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.errors import QueryError, nearest
from workers.store.tables.scan import PREDICTIONS, TOP

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PredictedChannel:
    """A channel: of `top` top images with a positive score, the network gives `images` one of the classes."""

    layer_index: int
    channel: int
    images: int
    top: int


@dataclass(frozen=True, eq=False)
class Predictions:
    """The classes that a network gives the top images of its channels. Arrays have a row per top image with a positive score.

    Attributes:
        names: names of the classes.
        words: for each class, all words that find it, in lower case.
        layer_index: layer.
        channel: channel.
        classes: the image's most probable class.
    """

    names: tuple[str, ...]
    words: tuple[frozenset[str], ...]
    layer_index: Ints
    channel: Ints
    classes: Ints

    @property
    def nbytes(self) -> int:
        """The memory of the rows."""
        return 3 * self.classes.nbytes

    def find(self, text: str) -> tuple[int, ...]:
        """The classes that a text finds: those with exactly this word, or else those with a word that contains it as a word."""
        wanted = " ".join(text.lower().split())
        exact = tuple(number for number, words in enumerate(self.words) if wanted in words)
        if exact or not wanted:
            return exact
        within = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
        return tuple(number for number, words in enumerate(self.words) if any(map(within.search, words)))

    def channels(
        self, classes: Sequence[int], limit: int | None = None, least: int = 1
    ) -> tuple[PredictedChannel, ...]:
        """The channels with at least `least` images of some classes among their top images, the largest share first."""
        images = np.bincount(self._owners[np.isin(self.classes, classes)], minlength=len(self._keys))
        rows = np.flatnonzero(images >= least)
        order = rows[np.lexsort((rows, -self._tops[rows], -images[rows] / self._tops[rows]))][:limit]
        layers, channels = np.divmod(self._keys[order], 1 << 32)
        columns = (layers, channels, images[order], self._tops[order])
        return tuple(PredictedChannel(*map(int, row)) for row in zip(*columns, strict=True))

    def of(self, layer_index: int, channel: int) -> tuple[tuple[str, int], ...]:
        """The classes of a channel's top images with their numbers of images, the most common first."""
        own = self.classes[(self.layer_index == layer_index) & (self.channel == channel)]
        classes, counts = np.unique(own, return_counts=True)
        order = np.lexsort((classes, -counts))
        return tuple(
            (self.names[number], int(count)) for number, count in zip(classes[order], counts[order], strict=True)
        )

    @cached_property
    def _by_channel(self) -> tuple[Ints, Ints, Ints]:
        keys, owners, tops = np.unique(self.layer_index << 32 | self.channel, return_inverse=True, return_counts=True)
        return keys, owners, tops

    @property
    def _keys(self) -> Ints:
        return self._by_channel[0]

    @property
    def _owners(self) -> Ints:
        return self._by_channel[1]

    @property
    def _tops(self) -> Ints:
        return self._by_channel[2]


def read_predictions(run: PublishedRun) -> Predictions | None:
    """The predictions for the top images of a scan; None if it has none.

    Raises:
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    if not sum(part.rows for part in run.tables.get(PREDICTIONS.name, ())):
        return None
    predicted = read(run, PREDICTIONS, pc.scalar(True), ["image_index", "class_index"])
    top = read(run, TOP, pc.field("score") > 0, ["layer_index", "channel", "image_index"])
    indices, classes = (predicted[name].to_numpy().astype(np.int64) for name in ("image_index", "class_index"))
    rows = np.searchsorted(indices, top["image_index"].to_numpy())
    layers, channels = (top[name].to_numpy().astype(np.int64) for name in ("layer_index", "channel"))
    return Predictions(run.class_names, tuple(map(frozenset, _words(run))), layers, channels, classes[rows])


def predicted(run: PublishedRun, text: str) -> tuple[tuple[str, ...], tuple[PredictedChannel, ...]]:
    """The classes that a text finds, and the channels with images of these classes among their top images.

    Raises:
        QueryError: the run has no predictions, or the network has no such class.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    predictions = read_predictions(run)
    if predictions is None:
        raise QueryError(
            f"run {run.run!r} has no predictions; scan again with a classifier whose class names are known (--classes)"
        )
    classes = predictions.find(text)
    if not classes:
        way_out = nearest(text.lower(), sorted(frozenset().union(*predictions.words)))
        raise QueryError(f"no class of the network is called {text!r}; {way_out}")
    return tuple(predictions.names[number] for number in classes), predictions.channels(classes)


def _words(run: PublishedRun) -> Iterator[set[str]]:
    """For each class, its name, the parts of a name with commas, and its other words."""
    others = run.class_words or ("",) * len(run.class_names)
    for name, other in zip(run.class_names, others, strict=True):
        parts = (name, *name.split(","), *other.split(","))
        yield {" ".join(part.lower().split()) for part in parts} - {""}
