"""The unit of work, of retry and of reuse. Takes positions in a manifest, gives a value that travels in a few bytes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.core.topk import Rows


@dataclass(frozen=True, order=True)
class Shard:
    """Images [start, stop) of the manifest at `manifest` (a path under the root), and the name of their result.

    Attributes:
        start: first image index, a multiple of the batch.
        stop: image index behind the last.
        manifest: path of the manifest relative to the root.
        result: path of the shard's result relative to the root; it is named by its content's causes.
    """

    start: int
    stop: int
    manifest: str
    result: str


@dataclass(frozen=True, order=True)
class LayerShard(Shard):
    """Some images, and one layer to look at.

    Attributes:
        layer: name of the layer.
    """

    layer: str


@dataclass(frozen=True, eq=False)
class Group:
    """All rows of `top` whose image lies in one shard: the unit of work of the second pass.

    Attributes:
        start: first image index of the shard.
        stop: image index behind its last.
        manifest: path of the manifest relative to the root.
        result: path of the group's result relative to the root.
        rows: the rows, sorted as `top` is.
        rank: rank of each row within its channel.
    """

    start: int
    stop: int
    manifest: str
    result: str
    rows: Rows
    rank: np.ndarray[Any, Any]
