"""The running top-k of every channel. Takes scores and feature maps batch by batch, gives top rows with locations.

The spatial maximum of every map costs one pass over memory. The location of the maximum is computed only for images that
can enter the top-k, which are few after the first batches.
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
    """The running top-k of some layers. Images must arrive in ascending order of their index.

    Args:
        channels: number of channels by layer index.
        k: number of images kept per channel.
    """

    def __init__(self, channels: Mapping[int, int], k: int) -> None:
        self.k = k
        self._top = Rows.empty()
        self._waiting: list[Rows] = []
        self._thresholds = {layer: np.full(count, -np.inf, np.float32) for layer, count in channels.items()}
        self._scores: dict[int, list[Array]] = {layer: [] for layer in channels}

    def begin(self, keys: Array, indices: Array) -> "Update":
        """Begin the update by one batch, whose images have these keys (see `Rows.key`) and image indices."""
        return Update(self, keys, indices)

    def scores(self) -> dict[int, Array]:
        """All scores so far by layer index, (images, channels)."""
        return {layer: np.concatenate(parts) for layer, parts in self._scores.items() if parts}

    def candidates(self, layer: int, scores: Array, *, distinct: bool) -> Which:
        """The images (positions in the batch) and channels whose scores (images, channels) can enter the top-k.

        A score equal to the k-th best cannot, because its image has the larger index. If all images of the batch have
        distinct keys, only the batch's own k best can.
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
        """Add the rows of one batch. They are merged once more rows wait than the top-k has.

        A merge sorts all rows, and later batches add few. Rows that enter because a threshold is out of date are dropped by
        the merge.
        """
        self._waiting += parts
        if sum(map(len, self._waiting)) > len(self._top):
            self._merge()

    def _merge(self) -> None:
        """Merge the waiting rows, and raise the thresholds."""
        if not self._waiting:
            return
        self._top, self._waiting = merge([self._top, *self._waiting], self.k), []
        last = self._top.take(ranks(self._top) == self.k - 1)
        for layer, thresholds in self._thresholds.items():
            of_layer = last.layer_index == layer
            thresholds[last.channel[of_layer]] = last.score[of_layer]


class Update:
    """The update of a running top-k by one batch, layer by layer."""

    def __init__(self, maxima: Maxima, keys: Array, indices: Array) -> None:
        self._maxima = maxima
        self._keys = keys
        self._indices = indices
        self._distinct = len(np.unique(keys)) == len(keys)
        self._parts: list[Rows] = []

    def take(self, layer: int, map_: Tensor, scores: Array) -> None:
        """Add one layer's feature map (images, channels, height, width) and its maxima (images, channels)."""
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
        """End the update, after the last layer."""
        self._maxima.add(self._parts)


def locate(map_: Tensor, images: Array, channels: Array) -> Which:
    """The locations of the maxima of some images and channels; among equal values, the first in row-major order.

    Args:
        map_: feature map (images, channels, height, width).
        images: positions along the first axis, (pairs,).
        channels: positions along the second axis, (pairs,).

    Returns:
        Rows and columns of the maxima.
    """
    image, channel = (torch.as_tensor(index, device=map_.device) for index in (images, channels))
    flat = map_[image, channel].flatten(1)  # (pairs, height * width)
    place = flat.argmax(dim=1).cpu().numpy()
    return place // map_.shape[3], place % map_.shape[3]
