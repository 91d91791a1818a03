"""What a shard's scores give. Takes a matrix of scores on any device, gives the top rows and the statistics of every channel."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from workers.core import counting
from workers.core.statistics import Histograms, Statistics
from workers.core.topk import Rows

MOST_IMAGES = 1 << 20  # images of a shard: the positions that a key has room for
_POSITION = MOST_IMAGES - 1
_AT_ONCE = 500_000  # scores
_IN_CACHE = 100_000  # scores


def strongest(scores: Tensor, groups: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores of every channel, in the order of `topk`: by descending score, then by ascending position.

    A score and its position become one integer, whose order is the wanted one. Integers have no ties, so that every device gives
    the same answer.

    Args:
        scores: (images, channels), finite float32; at most 2^20 images.
        groups: (images,), int64 from 0; the best image of each group counts alone. None if each image is its own group.
        k: number of images per channel.

    Returns:
        Scores, float32, and positions of the images, int64, both (channels, k), or narrower if there are fewer groups.
    """
    rows = len(scores) if groups is None else int(groups.max()) + 1
    parts = [_strongest(part, groups, rows, k) for part in torch.split(scores, max(1, _AT_ONCE // len(scores)), dim=1)]
    keys = torch.cat(parts)
    return _from_ordered(keys >> 20), _POSITION - (keys & _POSITION)


def _strongest(scores: Tensor, groups: Tensor | None, rows: int, k: int) -> Tensor:
    """The largest keys of some channels, (channels, k)."""
    positions = torch.arange(len(scores), device=scores.device)
    keys = (_ordered(scores) << 20) | (_POSITION - positions)[:, None]
    if groups is not None:
        best = keys.new_full((rows, keys.shape[1]), torch.iinfo(torch.int64).min)
        keys = best.scatter_reduce_(0, groups[:, None].expand_as(keys), keys, "amax")
    return keys.t().contiguous().topk(min(k, rows), dim=1).values


def _ordered(scores: Tensor) -> Tensor:
    """Integers, int64, in the order of the scores; -0.0 counts as 0.0."""
    bits = (scores + 0.0).view(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()


def _from_ordered(ordered: Tensor) -> Tensor:
    """The scores, float32, of the integers of `_ordered`."""
    bits = ordered.int()
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).view(torch.float32)


def top_rows(scores: Tensor, layers: Mapping[int, int], indices: Sequence[int], keys: Sequence[int], k: int) -> Rows:
    """The top rows of every channel.

    Args:
        scores: (images, channels of all layers), finite float32; the images are in ascending order of their index.
        layers: number of channels by layer index, in the order of the scores.
        indices: image index of each image.
        keys: key of each image, see `Rows.key`.
        k: number of images per channel.
    """
    distinct, groups = np.unique(np.array(keys, np.int64), return_inverse=True)
    has_twins = len(distinct) < len(keys)
    best, positions = strongest(scores, torch.from_numpy(groups).to(scores.device) if has_twins else None, k)
    where = positions.cpu().numpy().ravel()
    layer, channel = (np.repeat(column, best.shape[1]) for column in _channels(layers))
    return Rows.make(
        layer_index=layer,
        channel=channel,
        score=best.cpu().numpy().ravel(),
        image_index=np.array(indices, np.int64)[where],
        key=np.array(keys, np.int64)[where],
    )


def statistics(scores: Tensor, layers: Mapping[int, int]) -> Statistics:
    """The statistics of every channel.

    Args:
        scores: (images, channels of all layers), finite float32, at least one image.
        layers: number of channels by layer index, in the order of the scores.
    """
    layer_index, channel = _channels(layers)
    bins, counts, sizes = (each.cpu().numpy() for each in counting.count(scores))
    sums, squares, active = (torch.zeros(len(channel), dtype=torch.float64, device=scores.device) for _ in range(3))
    for part in torch.split(scores, max(1, _IN_CACHE // len(channel))):
        wide = part.double()
        sums += wide.sum(dim=0)
        active += wide.sign().relu_().sum(dim=0)
        squares += wide.square_().sum(dim=0)
    return Statistics(
        layer_index=layer_index,
        channel=channel,
        images=np.full(len(channel), len(scores), np.int64),
        max=(scores.amax(dim=0) + 0.0).cpu().numpy(),
        sum=sums.cpu().numpy(),
        sum_of_squares=squares.cpu().numpy(),
        active=active.long().cpu().numpy(),
        histograms=Histograms.make(np.append(0, np.cumsum(sizes)), bins, counts),
    )


def _channels(layers: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The layer index and the channel of every column of the scores, int32."""
    layer_index = np.repeat(np.array([*layers], np.int32), [*layers.values()])
    return layer_index, np.concatenate([np.arange(count, dtype=np.int32) for count in layers.values()])
