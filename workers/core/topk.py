"""The k strongest images of every channel, mergeable in any order. Takes and gives columns of rows; numpy only.

The order is total: by descending score, then by ascending image index. `merge` keeps the best row of each key (the same
bytes, or the same group), then the k best. It is associative, commutative and idempotent: a row is dropped because k rows
of other keys, or a better row of its own key, precede it, and these precede it in any later merge too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import pyarrow as pa

TYPES = {
    "layer_index": np.int32,
    "channel": np.int32,
    "score": np.float32,
    "image_index": np.int64,
    "key": np.int64,
}


@dataclass(frozen=True, eq=False)
class Rows:
    """Columns of equal length, one row per (layer, channel, image).

    Attributes:
        layer_index: position of the layer in the graph.
        channel: channel of the layer.
        score: the channel's largest activation in the image.
        image_index: row number of the image in the manifest.
        key: images with the same key count once.
    """

    layer_index: np.ndarray[Any, Any]
    channel: np.ndarray[Any, Any]
    score: np.ndarray[Any, Any]
    image_index: np.ndarray[Any, Any]
    key: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def make(cls, **columns: Any) -> Self:  # noqa: ANN401 - array-likes
        """Rows from array-likes, broadcast to one length and cast to the column types; -0.0 becomes 0.0."""
        names = [field.name for field in fields(cls)]
        arrays = np.broadcast_arrays(*(np.asarray(columns[name], TYPES[name]) for name in names))
        by_name = dict(zip(names, (np.array(array, ndmin=1) for array in arrays), strict=True))
        by_name["score"] += np.float32(0)
        return cls(**by_name)

    @classmethod
    def empty(cls) -> Self:
        """No rows."""
        return cls(**{name: np.empty(0, kind) for name, kind in TYPES.items()})

    @classmethod
    def concatenate(cls, parts: Sequence["Rows"]) -> Self:
        """All rows of all parts, in order."""
        return cls(
            **{
                name: np.concatenate([getattr(part, name) for part in parts] or [np.empty(0, TYPES[name])])
                for name in TYPES
            }
        )

    def take(self, which: np.ndarray[Any, Any]) -> "Rows":
        """The rows at some positions, or under a mask."""
        return Rows(**{name: getattr(self, name)[which] for name in TYPES})

    def to_arrow(self) -> pa.StructArray:
        """The rows as one struct array, with fields in the order of the schema."""
        return pa.StructArray.from_arrays([pa.array(getattr(self, name)) for name in TYPES], names=list(TYPES))

    @classmethod
    def from_arrow(cls, array: pa.StructArray) -> Self:
        """The rows of a struct array."""
        return cls(**{name: array.field(name).to_numpy(zero_copy_only=False) for name in TYPES})


def merge(parts: Sequence[Rows], k: int) -> Rows:
    """For each (layer, channel), keep the best row of every key, then the k best.

    Args:
        parts: rows in any order, possibly repeated.
        k: number of rows kept per channel.

    Returns:
        Rows sorted by layer index, channel, descending score, ascending image index.
    """
    rows = Rows.concatenate(parts)
    order = np.lexsort((rows.image_index, -rows.score, rows.key, rows.channel, rows.layer_index))
    best = rows.take(order[_first_of(rows.layer_index[order], rows.channel[order], rows.key[order])])
    order = np.lexsort((best.image_index, -best.score, best.channel, best.layer_index))
    in_order = best.take(order)
    return in_order.take(ranks(in_order) < k)


def ranks(rows: Rows) -> np.ndarray[Any, Any]:
    """The rank of every row within its channel, from 0; the rows must be in the order of `merge`."""
    starts = _first_of(rows.layer_index, rows.channel)
    positions = np.arange(len(rows))
    return positions - np.maximum.accumulate(np.where(starts, positions, 0))


def _first_of(*columns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A mask of the first row of every run of rows that agree in all columns."""
    changed = np.zeros(len(columns[0]), bool)
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    changed[:1] = True
    return changed
