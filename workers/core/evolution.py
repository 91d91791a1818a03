"""Changes of channels during a training. Takes top-k images by checkpoint, gives overlaps and settling points; numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.core.topk import Rows


def overlaps(tops: Sequence[Rows], channels: int) -> NDArray[np.float64]:
    """The share of top images in common with the last checkpoint, for each checkpoint and channel of one layer.

    Images with a score of 0 or less do not count. The share is relative to the larger set, as in a comparison of runs.

    Args:
        tops: the layer's top rows by checkpoint.
        channels: number of channels of the layer.

    Returns:
        (checkpoints, channels), from 0 to 1; NaN if no image activates the channel at either checkpoint.
    """
    active = [_active_images(top, channels) for top in tops]
    shares = np.full((len(tops), channels), np.nan)
    for checkpoint, sets in enumerate(active):
        for channel, (current, last) in enumerate(zip(sets, active[-1], strict=True)):
            if current or last:
                shares[checkpoint, channel] = len(current & last) / max(len(current), len(last))
    return shares


def settled_since(shares: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """The first checkpoint from which a channel always has at least `share` of its images in common with the last one.

    Args:
        shares: (checkpoints, channels), see `overlaps`.
        share: the least share, from 0 to 1.

    Returns:
        (channels,); -1 if no image activates the channel at the last checkpoint.
    """
    below = ~(shares >= share)  # NaN is below
    since: NDArray[np.int64] = len(shares) - np.argmax(below[::-1], axis=0)  # after the last one that is below
    since[~below.any(axis=0)] = 0
    since[np.isnan(shares[-1])] = -1
    return since


def _active_images(top: Rows, channels: int) -> list[set[int]]:
    """For each channel, the images with a score above 0."""
    images: list[set[int]] = [set() for _ in range(channels)]
    for channel, image, score in zip(top.channel.tolist(), top.image_index.tolist(), top.score.tolist(), strict=True):
        if score > 0:
            images[channel].add(image)
    return images
