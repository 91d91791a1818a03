"""Rules for sums, products and concatenations. Takes an operation, gives its node; see `lowering`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workers.core import arrangement, joins, rectifiers, steps
from workers.core.arrangement import CHANNELS, Arrangement, Dimension, Factor
from workers.core.lowering import Lowering, Place
from workers.core.operations import Batch, Operation, Result
from workers.core.rules.maps import is_channels
from workers.core.steps import Shape, Step
from workers.errors import NoStepError

Number = int | float


def add(lowering: Lowering, operation: Operation) -> Place:
    """`add`, `sub` and `rsub`."""
    one, other = operation.arguments["self"], operation.arguments["other"]
    sign = -1 if operation.target in ("sub", "rsub") else 1
    factor = sign * operation.arguments.get("alpha", 1)
    if operation.target == "rsub":
        one, other = other, one
    if isinstance(one, Result) and isinstance(other, Result):
        return _add_maps(lowering, operation, one, other, factor)
    if isinstance(one, Result):
        return _scaled(lowering, operation, one, 1, _times(other, factor))
    return _scaled(lowering, operation, other, factor, one)


def multiply(lowering: Lowering, operation: Operation) -> Place:
    """`mul`."""
    one, other = operation.arguments["self"], operation.arguments["other"]
    if isinstance(one, Result) and isinstance(other, Result):
        return _gate(lowering, operation, one, other)
    source, factor = (one, other) if isinstance(one, Result) else (other, one)
    return _scaled(lowering, operation, source, factor, 0)


def scale_and_add(lowering: Lowering, operation: Operation) -> Place:
    """`addcmul` of a map with constants."""
    given = operation.arguments
    factors = [given["tensor1"], given["tensor2"]]
    maps = [each for each in factors if isinstance(each, Result)]
    if len(maps) != 1 or isinstance(given["self"], Result) or given["value"] != 1:
        raise NoStepError("it takes several maps")
    [factor] = [each for each in factors if each is not maps[0]]
    return _scaled(lowering, operation, maps[0], factor, given["self"])


def divide(lowering: Lowering, operation: Operation) -> Place:
    """`div`."""
    one, other = operation.arguments["self"], operation.arguments["other"]
    if not isinstance(one, Result) or operation.arguments.get("rounding_mode"):
        raise NoStepError("it divides a constant by a map")
    if not isinstance(other, Result):
        return _scaled(lowering, operation, one, other, 0, divides=True)
    place, _ = lowering.map_of(one)
    return _gated(lowering, operation, place, lowering.place(other), other, divides=True)


def negate(lowering: Lowering, operation: Operation) -> Place:
    """`neg`."""
    return _scaled(lowering, operation, operation.arguments["self"], -1, 0)


def concatenate(lowering: Lowering, operation: Operation) -> Place:
    """`cat`, along the channels."""
    maps = [lowering.map_of(source) for source in operation.arguments["tensors"]]
    layouts = [layout for _, layout in maps]
    dim = operation.arguments["dim"] % (len(layouts[0]) + 1) - 1
    shapes = [lowering.shape(place.node) for place, _ in maps]
    rests = [_without(layout, dim) for layout in layouts]
    along_channels = all(is_channels(layout, dim, shape) for layout, shape in zip(layouts, shapes, strict=True))
    if (
        dim < 0
        or not along_channels
        or any(rest != rests[0] for rest in rests)
        or any(s[1:] != shapes[0][1:] for s in shapes)
    ):
        raise NoStepError("it operates along a dimension other than channels")
    channels = tuple(shape[0] for shape in shapes)
    total = sum(channels)
    dimension = (Factor(CHANNELS, 1, total),) if total > 1 else ()
    layout = tuple(dimension if number == dim else each for number, each in enumerate(layouts[0]))
    nodes = [place.node for place, _ in maps]
    return lowering.emit(operation, joins.Concatenate(channels), nodes, (total, *shapes[0][1:]), layout)


def stack(lowering: Lowering, operation: Operation) -> Place:
    """`stack` of maps in a new first dimension: groups of channels."""
    nodes = [lowering.plain_of(source) for source in operation.arguments["tensors"]]
    shapes = [lowering.shape(node) for node in nodes]
    channels, height, width = shapes[0]
    if operation.arguments["dim"] not in (1, -4) or any(shape != shapes[0] for shape in shapes):
        raise NoStepError("it stacks along a dimension other than the first")
    shape = (channels * len(nodes), height, width)
    groups = arrangement.view(arrangement.plain(shape), (len(nodes), channels, height, width))
    return lowering.emit(operation, joins.Concatenate((channels,) * len(nodes)), nodes, shape, groups)


def total(lowering: Lowering, operation: Operation) -> Place:
    """`sum` over groups of channels."""
    given = operation.arguments
    place, layout = lowering.map_of(given["self"])
    shape = lowering.shape(place.node)
    [position] = [dim % (len(layout) + 1) - 1 for dim in given["dim"]] if len(given.get("dim") or ()) == 1 else [-1]
    dimension = layout[position] if position >= 0 else ()
    if len(dimension) != 1 or dimension[0].axis != CHANNELS or dimension[0].stride * dimension[0].size != shape[0]:
        raise NoStepError("it reduces over dimensions other than groups of channels")
    outputs = dimension[0].stride
    kept = [() if n == position else each for n, each in enumerate(layout) if given["keepdim"] or n != position]
    step = joins.GroupSum(dimension[0].size)
    return lowering.emit(operation, step, [place.node], (outputs, *shape[1:]), tuple(kept))


def _without(layout: Arrangement, dim: int) -> tuple[Dimension, ...]:
    return tuple(dimension for number, dimension in enumerate(layout) if number != dim)


def _add_maps(lowering: Lowering, operation: Operation, one: Result, other: Result, factor: Number) -> Place:
    places = [lowering.place(each) for each in (one, other)]
    shapes = [lowering.shape(place.node) for place in places]
    if any(place.layout is None for place in places):
        raise NoStepError("it takes a tensor that is not a feature map")
    largest = _larger(shapes)
    if largest is None or any(shape[0] != shapes[largest][0] for shape in shapes):
        raise NoStepError(f"its maps have shapes {shapes[0]} and {shapes[1]}")
    layout = places[largest].layout or ()
    _require_size(operation, layout)
    spread = tuple(shape[1:] == (1, 1) and shapes[largest][1:] != (1, 1) for shape in shapes)
    _require_alike(places, shapes, layout)
    step = joins.Add(float(factor), (spread[0], spread[1]))
    return lowering.emit(operation, step, [place.node for place in places], shapes[largest], layout)


def _larger(shapes: Sequence[Shape]) -> int | None:
    """Which of two shapes both broadcast to; None if neither."""
    for number in (0, 1):
        small, large = shapes[1 - number], shapes[number]
        alike = small[1:] == large[1:] or small[1:] == (1, 1)
        if alike and small[0] in (1, large[0]):
            return number
    return None


def _require_alike(places: Sequence[Place], shapes: Sequence[Shape], layout: Arrangement) -> None:
    """Raise unless the model sees all maps in the same order of axes."""
    for place, shape in zip(places, shapes, strict=True):
        seen = place.layout or ()
        expected = tuple(tuple(factor for factor in dimension if shape[factor.axis] > 1) for dimension in layout)
        if shape == (1, 1, 1) or seen == expected:
            continue
        raise NoStepError("the dimensions of its maps are in different orders")


def _require_size(operation: Operation, layout: Arrangement) -> None:
    """Raise unless the result has the size of the map: broadcasting may make it larger."""
    if operation.sizes is None or operation.sizes[1:] != arrangement.sizes(layout):
        raise NoStepError("its result is larger than the map")


def _times(value: Any, factor: Number) -> Any:  # noqa: ANN401 - number or tensor
    return value if factor == 1 else value * factor


def _scaled(
    lowering: Lowering,
    operation: Operation,
    source: Any,  # noqa: ANN401 - any argument
    factor: Any,  # noqa: ANN401 - number or tensor
    offset: Any,  # noqa: ANN401 - number or tensor
    *,
    divides: bool = False,
) -> Place:
    """A map times a constant, plus a constant; each is a number, or a tensor that broadcasts to the map."""
    place, layout = lowering.map_of(source)
    shape = lowering.shape(place.node)
    _require_size(operation, layout)
    factors, offsets = (_constant(value, layout, shape).to(lowering.dtype) for value in (factor, offset))
    step: Step
    if offsets.shape[1:] != (1, 1) and not isinstance(factor, Tensor) and factor == 1:
        step = steps.Offset(offsets)
    elif factors.shape[1:] != (1, 1) or offsets.shape[1:] != (1, 1):
        raise NoStepError("its factor differs from location to location")
    else:
        whole = [each.flatten().expand(shape[0]).contiguous() for each in (factors, offsets)]
        step = steps.Scale(whole[0], whole[1], divides=divides)
    return lowering.emit(operation, step, [place.node], shape, layout)


def _constant(value: Any, layout: Arrangement, shape: Shape) -> Tensor:  # noqa: ANN401 - number or tensor
    """A constant as (channels or 1, height or 1, width or 1)."""
    if isinstance(value, Batch):
        raise NoStepError("it uses the batch size")
    if not isinstance(value, Tensor):
        return torch.full((1, 1, 1), float(value), dtype=torch.float64)
    if value.numel() == 1:
        return value.reshape(1, 1, 1)
    if not arrangement.is_complete(layout, shape):
        raise NoStepError("its channels are in a different order")
    without_batch = value[0] if value.dim() > len(layout) else value
    return arrangement.constant(without_batch, layout)


def _gate(lowering: Lowering, operation: Operation, one: Result, other: Result) -> Place:
    places = [lowering.place(one), lowering.place(other)]
    gate = _which_is_gate(lowering, places)
    signal = places[1 - gate]
    smooth = _self_gated(lowering, signal, places[gate])
    if smooth:
        _require_size(operation, signal.layout or ())
        shape = lowering.shape(signal.node)
        return lowering.emit(operation, rectifiers.Rectifier(smooth), [signal.node], shape, signal.layout)
    return _gated(lowering, operation, signal, places[gate], (one, other)[gate])


def _which_is_gate(lowering: Lowering, places: Sequence[Place]) -> int:
    """Which of two factors is held constant: what is not a map, the smaller one, a bounded one, the second."""
    no_maps = [place.layout is None for place in places]
    if any(no_maps):
        if all(no_maps):
            raise NoStepError("neither factor is a feature map")
        return no_maps.index(True)
    shapes = [lowering.shape(place.node) for place in places]
    larger = _larger(shapes)
    if larger is not None and shapes[0] != shapes[1]:
        return 1 - larger
    bounded = [_is_bounded(lowering, place.node) for place in places]
    if bounded[0] != bounded[1]:
        return bounded.index(True)
    return 0 if _follows(lowering, places[0].node, places[1].node) else 1


def _is_bounded(lowering: Lowering, node: int) -> bool:
    """Whether a function with bounded values gives a node."""
    step = lowering.nodes[node].step
    if isinstance(step, steps.Same):
        return _is_bounded(lowering, lowering.nodes[node].inputs[0])
    return isinstance(step, rectifiers.Rectifier) and step.name in rectifiers.BOUNDED


def _follows(lowering: Lowering, node: int, other: int) -> bool:
    """Whether a node follows from another by functions of each activation alone."""
    while node > other and isinstance(lowering.nodes[node].step, rectifiers.Pointwise | steps.Scale | steps.Same):
        [node] = lowering.nodes[node].inputs
    return node == other


def _self_gated(lowering: Lowering, signal: Place, gate: Place) -> str:
    """The name of the rectifier that a map times a bounded function of itself is; empty if it is none."""
    step = lowering.nodes[gate.node].step
    is_own = lowering.nodes[gate.node].inputs == (signal.node,) and gate.layout == signal.layout
    name = f"x * {step.name}(x)" if isinstance(step, rectifiers.Rectifier) else ""
    return name if is_own and name in rectifiers.FUNCTIONS else ""


def _gated(
    lowering: Lowering, operation: Operation, signal: Place, gate: Place, value: Result, *, divides: bool = False
) -> Place:
    if signal.layout is None or signal.expanded is not None:
        raise NoStepError("neither factor is a feature map")
    shape = lowering.shape(signal.node)
    _require_size(operation, signal.layout)
    if gate.layout is None and not arrangement.is_complete(signal.layout, shape):
        step = joins.Gate(divides=divides, view=_gate_view(lowering, signal.layout, shape, value))
    elif gate.layout is None:
        step = joins.Gate(_gate_axes(lowering, signal.layout, shape, value), divides)
    else:
        _require_alike([gate], [lowering.shape(gate.node)], signal.layout)
        step = joins.Gate(divides=divides)
    return lowering.emit(operation, step, [signal.node, gate.node], shape, signal.layout)


def _gate_axes(lowering: Lowering, layout: Arrangement, shape: Shape, value: Result) -> tuple[int, ...]:
    """For each dimension of a gate that is not a map, the axis of the map that it goes along."""
    sizes = lowering.sizes(value)
    if sizes is None or len(sizes) != len(layout) + 1 or not arrangement.is_complete(layout, shape):
        raise NoStepError("its factors have different dimensions")
    present = [dimension[0].axis for dimension in layout if dimension]
    missing = [axis for axis in range(3) if axis not in present]
    return tuple(dimension[0].axis if dimension else missing.pop(0) for dimension in layout)


def _gate_view(lowering: Lowering, layout: Arrangement, shape: Shape, value: Result) -> Shape:
    """The shape of a gate of groups of channels, as (channels, height or 1, width or 1)."""
    sizes = lowering.sizes(value) or ()
    grouped = arrangement.view(arrangement.plain(shape), arrangement.sizes(layout)) == layout
    height, width = (size if isinstance(size, int) else 0 for size in sizes[-2:]) if len(sizes) > 2 else (0, 0)
    if not grouped or sizes[1:-2] != arrangement.sizes(layout)[:-2] or not {height, width} <= {1, *shape[1:]}:
        raise NoStepError("its factors have different dimensions")
    return shape[0], height, width
