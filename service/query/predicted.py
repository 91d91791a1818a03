"""Channels by what the network sees. Takes a scan and a word, gives the channels whose top images have such a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.query import class_words, other_searches
from service.query.catalog import PublishedRun
from service.query.reading import read
from service.query.telling import Overview
from workers.errors import QueryError, nearest
from workers.store.tables.scan import PREDICTIONS, TOP

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PredictedChannel:
    """A channel: of `top` top images with a positive score, the network gives `images` one of the classes.

    For `selectivity`, see `telling`.
    """

    layer_index: int
    channel: int
    images: int
    top: int
    selectivity: float


@dataclass(frozen=True)
class NamedClass:
    """A class of a network: its name, the words that find it besides the name, and the number of images that it is given to."""

    name: str
    words: tuple[str, ...]
    images: int


@dataclass(frozen=True)
class PredictedClasses:
    """What a word finds.

    Attributes:
        names: names of the classes.
        channels: the channels with images of these classes among their top images.
        is_exact: whether the word is one of the words of the classes, not only a part of one.
        has_words: whether any class of the network has words besides its name.
    """

    names: tuple[str, ...]
    channels: tuple[PredictedChannel, ...]
    is_exact: bool
    has_words: bool


@dataclass(frozen=True, eq=False)
class Predictions:
    """The classes that a network gives the top images of its channels. Arrays have a row per top image with a positive score.

    Attributes:
        names: names of the classes.
        words: for each class, all words that find it, in lower case.
        layer_index: layer.
        channel: channel.
        classes: the image's most probable class.
        has_words: whether any class has words besides its name.
    """

    names: tuple[str, ...]
    words: tuple[frozenset[str], ...]
    layer_index: Ints
    channel: Ints
    classes: Ints
    has_words: bool = False

    @property
    def nbytes(self) -> int:
        """The memory of the rows."""
        return 3 * self.classes.nbytes

    def find(self, text: str) -> tuple[int, ...]:
        """The classes that a text finds: those with exactly this word, or else those with a word that contains it as a word."""
        exact = self.find_exact(text)
        wanted = " ".join(text.lower().split())
        if exact or not wanted:
            return exact
        return tuple(
            number
            for number, words in enumerate(self.words)
            if any(class_words.contains(word, wanted) for word in words)
        )

    def find_exact(self, text: str) -> tuple[int, ...]:
        """The classes that have exactly this word."""
        wanted = " ".join(text.lower().split())
        return tuple(number for number, words in enumerate(self.words) if wanted in words)

    def channels(
        self, classes: Sequence[int], overview: Overview, limit: int | None = None, least: int = 1
    ) -> tuple[PredictedChannel, ...]:
        """The channels with at least `least` images of some classes among their top images.

        Those with the largest share of such images come first; among equals, the most selective ones.
        """
        images = np.bincount(self._owners[np.isin(self.classes, classes)], minlength=len(self._keys))
        rows = np.flatnonzero(images >= least)
        selectivity = overview.selectivity_of(self._keys)
        order = rows[np.lexsort((rows, -selectivity[rows], -images[rows] / self._tops[rows]))][:limit]
        layers, channels = np.divmod(self._keys[order], 1 << 32)
        columns = (layers, channels, images[order], self._tops[order], selectivity[order])
        return tuple(PredictedChannel(*row) for row in zip(*(column.tolist() for column in columns), strict=True))

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


def read_predictions(run: PublishedRun, path: str | None = None) -> Predictions | None:
    """The predictions for the top images of a scan; None if it has none.

    Args:
        run: the scan.
        path: a file of class names and words that replaces those of the scan; see `class_words.of_run`.

    Raises:
        DamagedRun: the run's files are not the ones that its manifest names.
        ModelError: the file does not fit.
    """
    if not sum(part.rows for part in run.tables.get(PREDICTIONS.name, ())):
        return None
    names, words = class_words.of_run(run, path)
    predicted = read(run, PREDICTIONS, pc.scalar(True), ["image_index", "class_index"])
    top = read(run, TOP, pc.field("score") > 0, ["layer_index", "channel", "image_index"])
    indices, classes = (predicted[name].to_numpy().astype(np.int64) for name in ("image_index", "class_index"))
    rows = np.searchsorted(indices, top["image_index"].to_numpy())
    layers, channels = (top[name].to_numpy().astype(np.int64) for name in ("layer_index", "channel"))
    every = tuple(class_words.of_name(name) | more for name, more in zip(names, words, strict=True))
    return Predictions(names, every, layers, channels, classes[rows], any(words))


def predicted(
    run: PublishedRun, overview: Overview, text: str, path: str | None = None, layer: str | None = None
) -> PredictedClasses:
    """The classes that a text finds, and the channels with images of these classes among their top images.

    Args:
        run: the scan.
        overview: its channels.
        text: a name or another word of a class.
        path: a file of class names and words that replaces those of the scan.
        layer: only channels of this layer; by default, of all layers.

    Raises:
        QueryError: the run has no predictions or no such layer, or the network has no such class.
        DamagedRun: the run's files are not the ones that its manifest names.
        ModelError: the file does not fit.
    """
    predictions = read_predictions(run, path)
    if predictions is None:
        raise QueryError(
            f"run {run.run!r} has no predictions; scan again with a classifier whose class names are known (--classes)"
        )
    classes = predictions.find(text)
    if not classes:
        way_out = nearest(text.lower(), sorted(frozenset().union(*predictions.words)))
        ways = other_searches.describe(run, text)
        raise QueryError(f"no class of the network is called {text!r}; {way_out}; other ways: {ways}")
    names = tuple(predictions.names[number] for number in classes)
    is_exact = classes == predictions.find_exact(text)
    index = run.layer(layer).index if layer is not None else None
    channels = predictions.channels(classes, overview)
    wanted = tuple(channel for channel in channels if index is None or channel.layer_index == index)
    return PredictedClasses(names, wanted, is_exact, predictions.has_words)


def require_classes(run: PublishedRun) -> tuple[NamedClass, ...]:
    """The classes of a scan's network, in the order of its outputs.

    Raises:
        QueryError: the names of the classes are not known.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    if not run.class_names:
        raise QueryError(f"run {run.run!r} has no class names; scan again with --classes FILE")
    names, words = class_words.of_run(run)
    images = np.zeros(len(names), np.int64)
    if PREDICTIONS.name in run.tables:
        indices = read(run, PREDICTIONS, pc.scalar(True), ["class_index"])["class_index"].to_numpy()
        images = np.bincount(indices, minlength=len(names))
    every = zip(names, words, images.tolist(), strict=True)
    return tuple(
        NamedClass(name, tuple(sorted(more - class_words.of_name(name))), count) for name, more, count in every
    )
