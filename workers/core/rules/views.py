"""Rules for views, slices and borders. Takes an operation, gives its node or another view of one; see `lowering`."""

from dataclasses import replace
from typing import Any

from workers.core import arrangement, resampling, slicing, steps
from workers.core.arrangement import CHANNELS, COLUMNS, ROWS, Arrangement, Factor
from workers.core.lowering import Location, Lowering, Parts, Place
from workers.core.operations import Batch, Operation
from workers.core.rules.maps import output_shape
from workers.core.steps import Shape
from workers.errors import NoStepError

LAST = 2**63 - 1  # torch's stop of an open slice


def take_input(lowering: Lowering, operation: Operation) -> Place:
    """The network's input."""
    return lowering.emit(operation, steps.Input(), [], output_shape(operation))


def same(lowering: Lowering, operation: Operation) -> Place:
    """An operation that gives its input: dropout in evaluation mode."""
    source, training = next(iter(operation.arguments.values())), operation.arguments.get("train")
    if training:
        raise NoStepError("it is random in evaluation mode too")
    place, layout = lowering.map_of(source)
    step = steps.Same(operation.target.removeprefix("feature_"))
    return lowering.emit(operation, step, [place.node], lowering.shape(place.node), layout)


def permute(lowering: Lowering, operation: Operation) -> Place:
    """`permute` and `transpose`."""
    given = operation.arguments
    place, layout = lowering.map_of(given["self"])
    count = len(layout) + 1
    if operation.target == "permute":
        order = [dim % count for dim in given["dims"]]
    else:
        order = list(range(count))
        one, other = given["dim0"] % count, given["dim1"] % count
        order[one], order[other] = order[other], order[one]
    if order[0] != 0:
        raise NoStepError("it moves the batch dimension")
    return _arranged(lowering, operation, place, arrangement.permute(layout, [dim - 1 for dim in order[1:]]))


def view(lowering: Lowering, operation: Operation) -> Place:
    """`view`, `reshape`, `flatten`, `squeeze`, `unsqueeze`: the same numbers in other dimensions."""
    place, layout = lowering.map_of(operation.arguments["self"])
    sizes = operation.sizes or ()
    if sizes[0:1] != (Batch(1),) or not all(isinstance(size, int) for size in sizes[1:]):
        raise NoStepError("it mixes the images of a batch")
    new = arrangement.view(layout, sizes[1:])  # type: ignore[arg-type]
    if new is None:
        raise NoStepError("it mixes rows, columns and channels")
    return _arranged(lowering, operation, place, new)


def _arranged(lowering: Lowering, operation: Operation, place: Place, layout: Arrangement) -> Place:
    """Another view of a node's map: a node of its own if it is a map again, with its channels in order or not."""
    shape = lowering.shape(place.node)
    if len(layout) == 1 and shape[1:] != (1, 1):
        return _flattened(lowering, operation, place, layout, shape)
    if arrangement.is_complete(layout, shape):
        kind = "flatten" if len(layout) == 1 else operation.target
        step = steps.Flatten() if len(layout) == 1 else steps.Same(kind)
        return lowering.emit(operation, step, [place.node], shape, layout)
    if layout[1:] == arrangement.plain(shape)[1:]:
        order = arrangement.channel_order(layout[0], shape[0])
        if order is not None:
            return lowering.emit(operation, slicing.Shuffle(order), [place.node], shape)
    factor = _blocks(layout)
    if factor > 1 and not (shape[ROWS] % factor or shape[COLUMNS] % factor):
        return _unshuffled(lowering, operation, place, layout, factor)
    return Place(place.node, layout)


def _blocks(layout: Arrangement) -> int:
    """The side of the squares of pixels that a view moves into its channels; 1 if it moves none."""
    strides = [dimension[0].stride for dimension in layout[1:] if len(dimension) == 1]
    axes = [dimension[0].axis for dimension in layout[1:] if len(dimension) == 1]
    return strides[0] if axes == [ROWS, COLUMNS] and strides[0] == strides[1] else 1


def _unshuffled(lowering: Lowering, operation: Operation, place: Place, layout: Arrangement, factor: int) -> Place:
    """A view of a map whose squares of pixels are groups of channels, whatever their order."""
    channels, height, width = lowering.shape(place.node)
    shape = (channels * factor * factor, height // factor, width // factor)
    moved = tuple(tuple(_moved(each, factor) for each in dimension) for dimension in layout)
    order = arrangement.channel_order(moved[0], shape[0])
    if moved[1:] != arrangement.plain(shape)[1:] or order is None:
        return Place(place.node, layout)
    step = resampling.PixelUnshuffle(factor)
    if order == tuple(range(shape[0])):
        return lowering.emit(operation, step, [place.node], shape)
    squares = lowering.emit(replace(operation, name=f"{operation.name}.squares"), step, [place.node], shape)
    return lowering.emit(operation, slicing.Shuffle(order), [squares.node], shape)


def _moved(part: Factor, factor: int) -> Factor:
    """A factor of a view of a map, as one of the map whose squares of pixels are groups of channels."""
    if part.axis == CHANNELS:
        return Factor(CHANNELS, part.stride * factor * factor, part.size)
    if part.stride < factor:
        return Factor(CHANNELS, part.stride * (factor if part.axis == ROWS else 1), part.size)
    return Factor(part.axis, part.stride // factor, part.size)


def _flattened(lowering: Lowering, operation: Operation, place: Place, layout: Arrangement, shape: Shape) -> Place:
    wholes = {(Factor(axis, 1, size)): axis for axis, size in enumerate(shape)}
    if not all(factor in wholes for factor in layout[0]):
        raise NoStepError("its channels are in a different order")
    order = [wholes[factor] for factor in layout[0]]
    order += [axis for axis in range(3) if axis not in order]
    outputs = shape[0] * shape[1] * shape[2]
    step = steps.Flatten((order[0], order[1], order[2]))
    return lowering.emit(operation, step, [place.node], (outputs, 1, 1), arrangement.pooled(outputs))


def expand(lowering: Lowering, operation: Operation) -> Place:
    """`expand` of a map of one unit per channel: what it is added to or multiplied with repeats it anyway."""
    place, layout = lowering.map_of(operation.arguments["self"])
    sizes = operation.sizes or ()
    if sizes[0:1] != (Batch(1),) or len(sizes) != len(layout) + 1 or not all(isinstance(s, int) for s in sizes[1:]):
        raise NoStepError("it expands to other dimensions")
    if sizes[1:] == arrangement.sizes(layout):
        return place
    return Place(place.node, layout, tuple(sizes[1:]))  # type: ignore[arg-type]


def take_slice(lowering: Lowering, operation: Operation) -> Place:
    """`slice`."""
    given = operation.arguments
    bounds = (given["start"] or 0, LAST if given["end"] is None else given["end"], given["step"])
    if not all(isinstance(bound, int) for bound in bounds):
        raise NoStepError("its bounds depend on the number of images")
    return _sliced(lowering, operation, given["self"], given["dim"], slice(*bounds))


def select(lowering: Lowering, operation: Operation) -> Place:
    """`select`: one channel, whose dimension disappears."""
    given = operation.arguments
    _, layout = lowering.map_of(given["self"])
    dim = given["dim"] % (len(layout) + 1)
    size = ((0, *arrangement.sizes(layout))[dim]) or 1
    index = given["index"] % size
    place = _sliced(lowering, operation, given["self"], dim, slice(index, index + 1, 1))
    kept = tuple(d for number, d in enumerate(place.layout or (), start=1) if number != dim)
    return Place(place.node, kept)


def _sliced(lowering: Lowering, operation: Operation, source: Any, dim: int, bounds: slice) -> Place:  # noqa: ANN401
    place, layout = lowering.map_of(source)
    shape, position = lowering.shape(place.node), dim % (len(layout) + 1) - 1
    axis = _axis(layout, position, shape)
    start, stop, step = bounds.indices(shape[axis])
    size = len(range(start, stop, step))
    if size == 0:
        raise NoStepError("its result is empty")
    last = start + (size - 1) * step + 1
    new = tuple(size if each == axis else old for each, old in enumerate(shape))
    after = _resized(layout, position, axis, size)
    if axis == CHANNELS:
        cut: steps.Step = slicing.Channels(start, last, step, shape[CHANNELS])
    else:
        rows, columns = ((start, last, step) if axis == each else (0, shape[each], 1) for each in (ROWS, COLUMNS))
        cut = slicing.Slice((rows[0], columns[0]), (rows[1], columns[1]), (rows[2], columns[2]))
    return lowering.emit(operation, cut, [place.node], new, after)  # type: ignore[arg-type]


def _axis(layout: Arrangement, position: int, shape: Shape) -> int:
    """The axis that a dimension of a view is."""
    dimension = layout[position] if position >= 0 else None
    if dimension == () and len(layout) == 3 and arrangement.is_complete(layout, shape):
        present = {d[0].axis for d in layout if d}
        missing = [axis for axis in range(3) if axis not in present]
        empty = [number for number, d in enumerate(layout) if not d]
        return missing[empty.index(position)]
    if not dimension or len(dimension) != 1 or dimension[0] != Factor(dimension[0].axis, 1, shape[dimension[0].axis]):
        raise NoStepError("it operates along part of an axis")
    return dimension[0].axis


def _resized(layout: Arrangement, position: int, axis: int, size: int) -> Arrangement:
    dimension = (Factor(axis, 1, size),) if size > 1 else ()
    return tuple(dimension if number == position else d for number, d in enumerate(layout))


def split(lowering: Lowering, operation: Operation) -> Location:
    """`split`, `split_with_sizes`, `chunk`: nothing is computed until a part is taken."""
    given = operation.arguments
    _, layout = lowering.map_of(given["self"])
    dim = given["dim"] % (len(layout) + 1)
    if dim == 0:
        raise NoStepError("it splits the batch dimension")
    size = arrangement.sizes(layout)[dim - 1]
    if "chunks" in given:
        sizes: Any = -(-size // given["chunks"])
    else:
        sizes = given.get("split_size", given.get("split_sizes"))
    parts = [sizes] * (-(-size // sizes)) if isinstance(sizes, int) else list(sizes)
    starts = [sum(parts[:number]) for number in range(len(parts))]
    bounds = tuple((start, min(start + part, size)) for start, part in zip(starts, parts, strict=True))
    return Parts(operation, dim, bounds)


def take_item(lowering: Lowering, operation: Operation) -> Place:
    """One part of a split."""
    given = operation.arguments
    parts = lowering.places[given["self"].number]
    if not isinstance(parts, Parts):
        raise NoStepError("it takes a part of a tensor that is not a feature map")
    start, stop = parts.bounds[given["index"]]
    source = parts.operation.arguments["self"]
    return _sliced(lowering, operation, source, parts.dim, slice(start, stop, 1))


def pad(lowering: Lowering, operation: Operation) -> Place:
    """`pad` and `constant_pad_nd`."""
    given = operation.arguments
    widths, mode = list(given["pad"]), given.get("mode", "constant")
    node = lowering.plain_of(given["self"], adopt=False)
    columns, rows, channels, *rest = [*zip(widths[::2], widths[1::2], strict=True), (0, 0), (0, 0), (0, 0)]
    if any(any(each) for each in rest):
        raise NoStepError("it pads the batch dimension")
    if mode == "constant":
        step: steps.Step = slicing.Pad(rows, columns, channels, float(given.get("value") or 0.0))
    elif mode in ("reflect", "replicate") and not any(channels):
        step = slicing.MirrorPad(rows, columns, mode)
    else:
        raise NoStepError(f"its mode is {mode!r}")
    return lowering.emit(operation, step, [node], output_shape(operation))


def mirror_pad(lowering: Lowering, operation: Operation) -> Place:
    """`reflection_pad2d` and `replication_pad2d`."""
    given = operation.arguments
    left, right, top, bottom = given["padding"]
    mode = "reflect" if operation.target.startswith("reflection") else "replicate"
    step = slicing.MirrorPad((top, bottom), (left, right), mode)
    return lowering.emit(operation, step, [lowering.plain_of(given["self"], adopt=False)], output_shape(operation))


def channel_shuffle(lowering: Lowering, operation: Operation) -> Place:
    """`channel_shuffle`."""
    node, groups = lowering.plain_of(operation.arguments["self"]), operation.arguments["groups"]
    shape = lowering.shape(node)
    order = _shuffled(shape[0], groups)
    return lowering.emit(operation, slicing.Shuffle(order), [node], shape)


def _shuffled(channels: int, groups: int) -> tuple[int, ...]:
    each = channels // groups
    return tuple(group * each + index for index in range(each) for group in range(groups))
