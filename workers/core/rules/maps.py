"""Rules for convolutions, pooling and normalisation. Takes an operation, gives its node; see `lowering`."""

from typing import Any

from torch import Tensor

from workers.core import norms, pooling, resampling, steps
from workers.core.arrangement import CHANNELS, Arrangement, Factor, plain
from workers.core.lowering import Lowering, Place
from workers.core.operations import Operation
from workers.core.steps import Pair, Shape, Step
from workers.errors import GraphError, NoStepError


def pair(value: Any) -> Pair:  # noqa: ANN401 - int or sequence
    """Two numbers from one or two."""
    if isinstance(value, int):
        return (value, value)
    return (int(value[0]), int(value[-1]))


def output_shape(operation: Operation) -> Shape:
    """(channels, height, width) of an operation that gives (n, channels, height, width).

    Raises:
        NoStepError: it gives something else.
    """
    sizes = operation.sizes
    if sizes is None or len(sizes) != 4 or not all(isinstance(size, int) for size in sizes[1:]):
        raise NoStepError("it does not give one feature map")
    return tuple(sizes[1:])  # type: ignore[return-value]


def constant(value: Any, name: str) -> Tensor:  # noqa: ANN401 - any argument
    """A constant tensor.

    Raises:
        NoStepError: the value depends on the image.
    """
    if not isinstance(value, Tensor):
        raise NoStepError(f"its {name} depends on the image")
    return value


def optional(value: Any, name: str) -> Tensor | None:  # noqa: ANN401 - any argument
    """A constant tensor, or None."""
    return None if value is None else constant(value, name)


def _map(lowering: Lowering, operation: Operation, step: Step) -> Place:
    """A node whose input is the operation's first argument."""
    source = next(iter(operation.arguments.values()))
    return lowering.emit(operation, step, [lowering.plain_of(source)], output_shape(operation))


def convolution(lowering: Lowering, operation: Operation) -> Place:
    """`conv2d`."""
    given = operation.arguments
    weight, bias = constant(given["weight"], "kernel"), optional(given["bias"], "bias")
    stride, dilation, padding = pair(given["stride"]), pair(given["dilation"]), given["padding"]
    if padding == "same":
        totals = [d * (size - 1) for d, size in zip(dilation, weight.shape[2:], strict=True)]
        if any(total % 2 for total in totals):
            raise NoStepError("padding 'same' with an even kernel is uneven")
        padding = [total // 2 for total in totals]
    before = pair(0 if padding == "valid" else padding)
    return _map(lowering, operation, steps.Convolution(weight, bias, stride, before, dilation, given["groups"]))


def transposed_convolution(lowering: Lowering, operation: Operation) -> Place:
    """`conv_transpose2d`."""
    given = operation.arguments
    weight, bias = constant(given["weight"], "kernel"), optional(given["bias"], "bias")
    stride, padding, extra, dilation = (
        pair(given[name]) for name in ("stride", "padding", "output_padding", "dilation")
    )
    step = resampling.TransposedConvolution(weight, bias, stride, padding, extra, dilation, given["groups"])
    return _map(lowering, operation, step)


def batch_norm(lowering: Lowering, operation: Operation) -> Place:
    """`batch_norm`."""
    given = operation.arguments
    if given["running_mean"] is None or given["running_var"] is None or given.get("training"):
        raise GraphError(
            f"{operation.name!r} is a batch norm without running statistics: its output depends on the other images in the "
            "batch, which is not supported"
        )
    mean, variance = constant(given["running_mean"], "mean"), constant(given["running_var"], "variance")
    weight, bias = optional(given["weight"], "weight"), optional(given["bias"], "bias")
    source = lowering.place(given["input"])
    if source.layout is not None and len(source.layout) == 1:  # of (n, channels)
        shape = lowering.shape(source.node)
        if not is_channels(source.layout, 0, shape):
            raise NoStepError("its channels are in a different order")
        step = steps.BatchNorm(mean, variance, weight, bias, given["eps"])
        return lowering.emit(operation, step, [source.node], shape, source.layout)
    return _map(lowering, operation, steps.BatchNorm(mean, variance, weight, bias, given["eps"]))


def layer_norm(lowering: Lowering, operation: Operation) -> Place:
    """`layer_norm` and `rms_norm`, over the channels."""
    given = operation.arguments
    place, layout = lowering.map_of(given["input"])
    shape = lowering.shape(place.node)
    if len(given["normalized_shape"]) != 1 or not is_channels(layout, len(layout) - 1, shape):
        raise NoStepError("it normalises over more than the channels")
    weight, bias = optional(given["weight"], "weight"), optional(given.get("bias"), "bias")
    step: Step = norms.LayerNorm(weight, bias, given["eps"])
    if operation.target == "rms_norm":
        step = norms.RootMeanSquareNorm(weight, given["eps"])
    return lowering.emit(operation, step, [place.node], shape, layout)


def group_norm(lowering: Lowering, operation: Operation) -> Place:
    """`group_norm`."""
    given = operation.arguments
    weight, bias = optional(given["weight"], "weight"), optional(given["bias"], "bias")
    return _map(lowering, operation, norms.GroupNorm(given["num_groups"], weight, bias, given["eps"]))


def local_response_norm(lowering: Lowering, operation: Operation) -> Place:
    """`local_response_norm`, of which torch leaves ten operations."""
    node, given = lowering.plain_of(operation.arguments["self"]), operation.arguments
    step = norms.LocalResponseNorm(given["size"], given["alpha"], given["beta"], given["k"])
    return lowering.emit(operation, step, [node], lowering.shape(node))


def linear(lowering: Lowering, operation: Operation) -> Place:
    """`linear`, over the channels."""
    given = operation.arguments
    place, layout = lowering.map_of(given["input"])
    shape = lowering.shape(place.node)
    if not is_channels(layout, len(layout) - 1, shape):
        raise NoStepError("it operates along rows or columns")
    weight, bias = constant(given["weight"], "weight"), optional(given["bias"], "bias")
    outputs = len(weight)
    last = (Factor(CHANNELS, 1, outputs),) if outputs > 1 else ()
    step = steps.Linear(weight, bias)
    return lowering.emit(operation, step, [place.node], (outputs, *shape[1:]), (*layout[:-1], last))


def is_channels(layout: Arrangement, position: int, shape: Shape) -> bool:
    """Whether a dimension of a view is all channels in their order. One of size 1 is, if no other one could be."""
    if shape[0] > 1:
        return layout[position] == (Factor(CHANNELS, 1, shape[0]),)
    empty = [number for number, dimension in enumerate(layout) if not dimension]
    return empty == [position % len(layout)] or (position == 0 and layout in (plain(shape), ((),)))


def max_pool(lowering: Lowering, operation: Operation) -> Place:
    """`max_pool2d`."""
    given = operation.arguments
    size = pair(given["kernel_size"])
    stride = pair(given["stride"] or size)
    step = pooling.MaxPool(size, stride, pair(given["padding"]), pair(given["dilation"]), given["ceil_mode"])
    return _map(lowering, operation, step)


def average_pool(lowering: Lowering, operation: Operation) -> Place:
    """`avg_pool2d`."""
    given = operation.arguments
    size = pair(given["kernel_size"])
    step = pooling.AveragePool(
        size,
        pair(given["stride"] or size),
        pair(given["padding"]),
        (1, 1),
        given["ceil_mode"],
        given["count_include_pad"],
        given["divisor_override"],
    )
    return _map(lowering, operation, step)


def adaptive_average_pool(lowering: Lowering, operation: Operation) -> Place:
    """`adaptive_avg_pool2d`."""
    return _map(lowering, operation, pooling.AdaptiveAveragePool(output_shape(operation)[1:]))


def mean(lowering: Lowering, operation: Operation) -> Place:
    """`mean` over rows and columns."""
    given = operation.arguments
    place, layout = lowering.map_of(given["self"])
    shape = lowering.shape(place.node)
    over = {dim % (len(layout) + 1) - 1 for dim in given.get("dim") or range(len(layout) + 1)}
    factors = [factor for dim in over if dim >= 0 for factor in layout[dim]]
    left = [factor for dim, dimension in enumerate(layout) if dim not in over for factor in dimension]
    if (
        -1 in over
        or given["dtype"]
        or any(f.axis == CHANNELS for f in factors)
        or any(f.axis != CHANNELS for f in left)
    ):
        raise NoStepError("it reduces over dimensions other than rows and columns")
    kept = [() if dim in over else dimension for dim, dimension in enumerate(layout)]
    after = tuple(d for dim, d in enumerate(kept) if given.get("keepdim") or dim not in over)
    step = pooling.AdaptiveAveragePool((1, 1), is_mean=True)
    return lowering.emit(operation, step, [place.node], (shape[0], 1, 1), after)


def resize(lowering: Lowering, operation: Operation) -> Place:
    """`upsample_nearest2d` and the like."""
    given = operation.arguments
    if not operation.overload.endswith(".vec"):
        raise NoStepError(f"its overload {operation.overload} is not supported")
    node = lowering.plain_of(given["input"])
    _, height, width = output_shape(operation)
    _, *below = lowering.shape(node)
    scales = given["scale_factors"]
    step = resampling.Resize(
        operation.target,
        (height, width),
        (below[0], below[1]),
        given.get("align_corners"),
        None if scales is None else tuple(scales),
    )
    return lowering.emit(operation, step, [node], output_shape(operation))


def pixel_shuffle(lowering: Lowering, operation: Operation) -> Place:
    """`pixel_shuffle`."""
    return _map(lowering, operation, resampling.PixelShuffle(operation.arguments["upscale_factor"]))


def pixel_unshuffle(lowering: Lowering, operation: Operation) -> Place:
    """`pixel_unshuffle`."""
    return _map(lowering, operation, resampling.PixelUnshuffle(operation.arguments["downscale_factor"]))
