"""How a channel changes over a training. Takes top-k images by checkpoint, gives overlaps and when they settle; numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.core.topk import Rows


def overlaps(tops: Sequence[Rows], channels: int) -> NDArray[np.float64]:
    """For each checkpoint and channel of one layer the share of top images that it has in common with the last checkpoint.

    Images that do not wake the channel do not count. The share is of the larger of both sets, as in a comparison of runs.

    Args:
        tops: the layer's top rows by checkpoint.
        channels: of the layer.

    Returns:
        (checkpoints, channels), from 0 to 1; NaN where nothing wakes the channel at either checkpoint.
    """
    awake = [_awake(top, channels) for top in tops]
    found = np.full((len(tops), channels), np.nan)
    for checkpoint, sets in enumerate(awake):
        for channel, (here, last) in enumerate(zip(sets, awake[-1], strict=True)):
            if here or last:
                found[checkpoint, channel] = len(here & last) / max(len(here), len(last))
    return found


def settled_since(found: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """The first checkpoint from which on a channel never shares less than `share` with the last one.

    Args:
        found: (checkpoints, channels), see `overlaps`.
        share: from 0 to 1.

    Returns:
        (channels,); -1 where nothing wakes the channel at the last checkpoint.
    """
    below = ~(found >= share)  # NaN is below
    since: NDArray[np.int64] = len(found) - np.argmax(below[::-1], axis=0)  # behind the last one that is below
    since[~below.any(axis=0)] = 0
    since[np.isnan(found[-1])] = -1
    return since


def _awake(top: Rows, channels: int) -> list[set[int]]:
    found: list[set[int]] = [set() for _ in range(channels)]
    for channel, image, score in zip(top.channel.tolist(), top.image_index.tolist(), top.score.tolist(), strict=True):
        if score > 0:
            found[channel].add(image)
    return found
