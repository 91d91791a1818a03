"""How a model lays out a feature map. Takes the dimensions of a view and a reshape of it, gives those of the result.

Deconvoy keeps every feature map as (n, channels, height, width). A model may also see it with its channels last, as a
list of tokens, or with its channels in groups. An arrangement describes such a view: for each dimension after the batch,
the factors that it runs over, the slowest first. Views, permutations and flattenings then need no operation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

CHANNELS, ROWS, COLUMNS = 0, 1, 2
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Factor:
    """Every `stride`-th index along one axis of a feature map, `size` of them."""

    axis: int
    stride: int
    size: int

    def split(self, inner: int) -> "tuple[Factor, Factor] | None":
        """A slow factor, and a fast one with `inner` indices; None if `inner` does not divide the size."""
        if self.size % inner:
            return None
        return (
            Factor(self.axis, self.stride * inner, self.size // inner),
            Factor(self.axis, self.stride, inner),
        )


Dimension = tuple[Factor, ...]
Arrangement = tuple[Dimension, ...]


def plain(shape: Shape) -> Arrangement:
    """The arrangement (channels, height, width) itself. A dimension of size 1 has no factors."""
    return tuple(_whole(axis, size) for axis, size in enumerate(shape))


def pooled(channels: int) -> Arrangement:
    """The arrangement of a map of one unit per channel as (channels,)."""
    return (_whole(CHANNELS, channels),)


def sizes(arrangement: Arrangement) -> tuple[int, ...]:
    """The size of each dimension."""
    return tuple(prod(factor.size for factor in dimension) for dimension in arrangement)


def is_complete(arrangement: Arrangement, shape: Shape) -> bool:
    """Whether each dimension is a whole axis or has size 1, as in (height, width, channels)."""
    wholes = {(Factor(axis, 1, size),) for axis, size in enumerate(shape)}
    return all(not dimension or dimension in wholes for dimension in arrangement)


def permute(arrangement: Arrangement, order: Sequence[int]) -> Arrangement:
    """The dimensions in another order."""
    return tuple(arrangement[position] for position in order)


def view(arrangement: Arrangement, new_sizes: Sequence[int]) -> Arrangement | None:
    """A view with other sizes; None if a dimension would mix parts of several factors."""
    left = [factor for dimension in arrangement for factor in dimension]
    dimensions: list[Dimension] = []
    for size in new_sizes:
        taken = _take(left, size)
        if taken is None:
            return None
        dimensions.append(taken)
    return tuple(dimensions)


def channel_order(dimension: Dimension, channels: int) -> tuple[int, ...] | None:
    """The channels that a dimension runs over, in its order; None if they are not all channels once."""
    if any(factor.axis != CHANNELS for factor in dimension):
        return None
    order = [0]
    for factor in dimension:
        order = [index + step * factor.stride for index in order for step in range(factor.size)]
    return tuple(order) if sorted(order) == list(range(channels)) else None


def arrange(map_: Tensor, arrangement: Arrangement) -> Tensor:
    """The view of a feature map (n, channels, height, width) that an arrangement describes, (n, *sizes)."""
    factors = [factor for dimension in arrangement for factor in dimension]
    ordered = sorted(factors, key=lambda factor: (factor.axis, -factor.stride))
    split = map_.reshape(map_.shape[0], *(factor.size for factor in ordered))
    moved = split.permute(0, *(ordered.index(factor) + 1 for factor in factors))
    return moved.reshape(map_.shape[0], *sizes(arrangement))


def restore(view_: Tensor, arrangement: Arrangement, shape: Shape) -> Tensor:
    """The feature map (n, channels, height, width) of a view whose dimensions are whole axes; the inverse of `arrange`."""
    axes = [dimension[0].axis for dimension in arrangement if dimension]
    squeezed = view_.reshape(view_.shape[0], *(shape[axis] for axis in axes))
    moved = squeezed.permute(0, *(axes.index(axis) + 1 for axis in sorted(axes)))
    return moved.reshape(view_.shape[0], *shape) if len(axes) < 3 else moved


def constant(values: Tensor, arrangement: Arrangement) -> Tensor:
    """Numbers that are broadcast over a view, as numbers that are broadcast over the feature map.

    Args:
        values: of any shape that broadcasts to the view, without a batch.
        arrangement: the view, whose dimensions are whole axes.

    Returns:
        (channels or 1, height or 1, width or 1).
    """
    full = values.reshape((1,) * (len(arrangement) - values.dim()) + tuple(values.shape))
    result = [1, 1, 1]
    axes = []
    for dimension, size in zip(arrangement, full.shape, strict=True):
        if size > 1:
            axes.append(dimension[0].axis)
            result[dimension[0].axis] = size
    squeezed = full.reshape(tuple(size for size in full.shape if size > 1))
    return squeezed.permute([axes.index(axis) for axis in sorted(axes)]).reshape(result).contiguous()


def _whole(axis: int, size: int) -> Dimension:
    return (Factor(axis, 1, size),) if size > 1 else ()


def _take(left: list[Factor], size: int) -> Dimension | None:
    """Remove factors whose sizes multiply to `size` from the front of a list."""
    taken: list[Factor] = []
    while size > 1:
        if not left:
            return None
        factor = left.pop(0)
        if factor.size > size:
            parts = factor.split(factor.size // size) if factor.size % size == 0 else None
            if parts is None:
                return None
            factor = parts[0]
            left.insert(0, parts[1])
        if size % factor.size:
            return None
        size //= factor.size
        taken.append(factor)
    return _merge(taken)


def _merge(factors: list[Factor]) -> Dimension:
    """Neighbouring factors that run on through one axis, as one."""
    merged: list[Factor] = []
    for factor in factors:
        last = merged[-1] if merged else None
        if last and last.axis == factor.axis and last.stride == factor.stride * factor.size:
            merged[-1] = Factor(factor.axis, factor.stride, last.size * factor.size)
        else:
            merged.append(factor)
    return tuple(merged)
