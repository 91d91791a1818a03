"""Each channel's strongest images while batches pass by. Takes scores and maps, gives top rows; locations only where needed.

The spatial maximum of every map costs one pass over memory. Where the maximum lies is looked up only for the images
that can enter the top-k: after the first batches that is almost nowhere.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.core.topk import Rows, merge, ranks

Array = np.ndarray[Any, Any]
Which = tuple[Array, Array]


class Maxima:
    """The running top-k of some layers over images that come in ascending order of their index.

    Args:
        channels: number of channels by layer index.
        k: images kept per channel.
    """

    def __init__(self, channels: Mapping[int, int], k: int) -> None:
        self.k = k
        self._top = Rows.empty()
        self._waiting: list[Rows] = []
        self._thresholds = {layer: np.full(count, -np.inf, np.float32) for layer, count in channels.items()}
        self._scores: dict[int, list[Array]] = {layer: [] for layer in channels}

    def begin(self, keys: Array, indices: Array) -> "Look":
        """Look at one batch: what counts once, and the image index, of each of its images."""
        return Look(self, keys, indices)

    def scores(self) -> dict[int, Array]:
        """All scores so far by layer index, (images, channels)."""
        return {layer: np.concatenate(parts) for layer, parts in self._scores.items() if parts}

    def candidates(self, layer: int, scores: Array, *, distinct: bool) -> Which:
        """Images (positions in the batch) and channels whose scores (images, channels) can enter the top-k.

        A score that only equals the k-th best cannot: its image has the larger index. Where no two images of the batch
        count as one, only the batch's own k best can.
        """
        self._scores[layer].append(scores)
        entering = scores > self._thresholds[layer]
        if distinct and len(scores) > self.k:
            entering &= scores >= np.partition(scores, len(scores) - self.k, axis=0)[-self.k]
        images, channels = np.nonzero(entering)
        return images, channels

    @property
    def top(self) -> Rows:
        """The top rows of all images so far."""
        self._merge()
        return self._top

    def add(self, parts: list[Rows]) -> None:
        """Take the rows of one batch; they are merged once as many wait as there are already.

        A merge sorts all rows. Later batches bring few; what a low threshold lets through for a while is dropped then.
        """
        self._waiting += parts
        if sum(map(len, self._waiting)) > len(self._top):
            self._merge()

    def _merge(self) -> None:
        """Merge what waits and raise the thresholds."""
        if not self._waiting:
            return
        self._top, self._waiting = merge([self._top, *self._waiting], self.k), []
        last = self._top.take(ranks(self._top) == self.k - 1)
        for layer, thresholds in self._thresholds.items():
            here = last.layer_index == layer
            thresholds[last.channel[here]] = last.score[here]


class Look:
    """One batch on its way through the layers."""

    def __init__(self, maxima: Maxima, keys: Array, indices: Array) -> None:
        self._maxima = maxima
        self._keys = keys
        self._indices = indices
        self._distinct = len(np.unique(keys)) == len(keys)
        self._parts: list[Rows] = []

    def take(self, layer: int, map_: Tensor, scores: Array) -> None:
        """Look at one layer's feature map (images, channels, height, width) and its maxima (images, channels)."""
        images, channels = self._maxima.candidates(layer, scores, distinct=self._distinct)
        if not len(images):
            return
        y, x = locate(map_, images, channels)
        self._parts.append(
            Rows.make(
                layer_index=layer,
                channel=channels,
                score=scores[images, channels],
                image_index=self._indices[images],
                y=y,
                x=x,
                key=self._keys[images],
            )
        )

    def finish(self) -> None:
        """The batch has passed all layers."""
        self._maxima.add(self._parts)


def locate(map_: Tensor, images: Array, channels: Array) -> Which:
    """Where some channels of some images are largest; of equal values the first in row-major order.

    Args:
        map_: feature map (images, channels, height, width).
        images: positions along the first axis.
        channels: positions along the second axis, as many.

    Returns:
        Rows and columns of the maxima.
    """
    which = [torch.as_tensor(index, device=map_.device) for index in (images, channels)]
    flat = map_[which[0], which[1]].flatten(1)  # (pairs, height * width)
    place = flat.argmax(dim=1).cpu().numpy()
    return place // map_.shape[3], place % map_.shape[3]
