"""Steps for torch modules and calls. Takes one, gives its step and input nodes; refuses unknown modules, calls and arguments."""

import operator
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from workers.core import pooling, steps
from workers.core.steps import Step
from workers.errors import GraphError

IN_PLACE_METHODS = {"relu_": "relu", "add_": "add", "mul_": "mul", "dropout_": "dropout"}

Lowered = tuple[Step, tuple[Any, ...]]


class Maps(Protocol):
    """The properties of earlier nodes."""

    dtype: torch.dtype

    def channels(self, source: Any) -> int:  # noqa: ANN401 - any fx argument
        """The number of channels of an fx node's output."""


def lower_module(module: nn.Module) -> Step:
    """The step of a module.

    Raises:
        GraphError: it or its arguments are not supported.
    """
    make = MODULES.get(type(module))
    if make is None:
        raise GraphError(f"no downward step is known for a {type(module).__name__}")
    return make(module)


def lower_call(maps: Maps, node: fx.Node) -> Lowered:
    """The step of a function or method call, and the fx nodes that it reads.

    Raises:
        GraphError: it or its arguments are not supported.
    """
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
    name = IN_PLACE_METHODS.get(name, name.strip("_"))
    make = CALLS.get(name.removeprefix("i") if name in ("iadd", "imul") else name)
    if make is None or node.op == "get_attr":
        raise GraphError(f"no downward step is known for a {name}")
    return make(maps, node)


def is_number(node: fx.Node) -> bool:
    """Whether a node computes a size, which only reshapes read."""
    if node.op == "call_method" and node.target == "size":
        return True
    if node.target is getattr and node.args[1] == "shape":
        return True
    return node.target is operator.getitem and isinstance(node.args[0], fx.Node) and is_number(node.args[0])


def _pair(value: Any) -> steps.Pair:  # noqa: ANN401 - int or sequence
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _convolution(module: nn.Conv2d) -> Step:
    if module.padding_mode != "zeros":
        raise GraphError(f"a convolution with padding mode {module.padding_mode!r}: only 'zeros' is supported")
    stride, dilation = _pair(module.stride), _pair(module.dilation)
    padding: Any = module.padding
    if padding == "valid":
        padding = 0
    elif padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, module.kernel_size, strict=True)]
        if any(total % 2 for total in totals):
            raise GraphError(
                "a convolution with padding 'same' and an even kernel pads unevenly, which is not supported"
            )
        padding = [total // 2 for total in totals]
    bias = None if module.bias is None else module.bias.detach()
    return steps.Convolution(module.weight.detach(), bias, stride, _pair(padding), dilation, module.groups)


def _batch_norm(module: nn.BatchNorm2d) -> Step:
    if module.running_mean is None or module.running_var is None:
        raise GraphError("a batch norm without running statistics depends on the batch, which is not supported")
    weight, bias = (None if p is None else p.detach() for p in (module.weight, module.bias))
    return steps.BatchNorm(module.running_mean, module.running_var, weight, bias, module.eps)


def _max_pool(size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> Step:  # noqa: ANN401
    return pooling.MaxPool(_pair(size), _pair(stride or size), _pair(padding), _pair(dilation), ceil_mode)


def _average_pool(
    size: Any,  # noqa: ANN401
    stride: Any = None,  # noqa: ANN401
    padding: Any = 0,  # noqa: ANN401
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Step:
    return pooling.AveragePool(
        _pair(size), _pair(stride or size), _pair(padding), (1, 1), ceil_mode, count_include_pad, divisor_override
    )


def _adaptive(size: Any) -> Step:  # noqa: ANN401
    extent = (size, size) if isinstance(size, int) else tuple(size)
    if any(side is None for side in extent):
        raise GraphError("an adaptive pooling that keeps a side of its input is not supported")
    return pooling.AdaptiveAveragePool((extent[0], extent[1]))


def _rectifier(module: nn.Module) -> Step:
    kind = type(module)
    parameters = [f"{name}={getattr(module, name)}" for name in PARAMETERS if hasattr(module, name)]
    name = " ".join([kind.__name__, *parameters])
    return steps.Rectifier(name, RECTIFIERS[kind](module), exact=kind in (nn.ReLU, nn.ReLU6))


def _flatten(module: nn.Flatten) -> Step:
    if module.start_dim != 1 or module.end_dim != -1:
        raise GraphError(f"a flatten of dimensions {module.start_dim} to {module.end_dim}: only 1 to -1 is supported")
    return steps.Flatten()


PARAMETERS = ("negative_slope", "alpha", "approximate")
# All rectifiers compute out of place, even if the module does not.
RECTIFIERS: dict[type[nn.Module], Callable[[Any], Callable[[Tensor], Tensor]]] = {
    nn.ReLU: lambda _: functional.relu,
    nn.ReLU6: lambda _: functional.relu6,
    nn.LeakyReLU: lambda m: lambda x: functional.leaky_relu(x, m.negative_slope),
    nn.ELU: lambda m: lambda x: functional.elu(x, m.alpha),
    nn.SiLU: lambda _: functional.silu,
    nn.GELU: lambda m: lambda x: functional.gelu(x, approximate=m.approximate),
    nn.Hardswish: lambda _: functional.hardswish,
}

MODULES: dict[type[nn.Module], Callable[[Any], Step]] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: lambda m: _max_pool(m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode),
    nn.AvgPool2d: lambda m: _average_pool(
        m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
    ),
    nn.AdaptiveAvgPool2d: lambda m: _adaptive(m.output_size),
    nn.LocalResponseNorm: lambda m: steps.LocalResponseNorm(m.size, m.alpha, m.beta, m.k),
    nn.Linear: lambda m: steps.Linear(m.weight.detach(), None if m.bias is None else m.bias.detach()),
    nn.Flatten: _flatten,
    nn.Dropout: lambda _: steps.Same("dropout"),
    nn.Dropout2d: lambda _: steps.Same("dropout"),
    nn.Identity: lambda _: steps.Same("identity"),
    **dict.fromkeys(RECTIFIERS, _rectifier),
}


def _one_map(make: Callable[..., Step]) -> Callable[[Maps, fx.Node], Lowered]:
    """Lower a call whose first argument is the map and whose other arguments are those of `make`."""

    def lower(_: Maps, node: fx.Node) -> Lowered:
        kwargs = {
            key: value
            for key, value in node.kwargs.items()
            if key not in ("inplace", "training", "return_indices", "p")
        }
        source = kwargs.pop("input", None)
        arguments = list(node.args) if source is None else [source, *node.args]
        sizes = [kwargs.pop(name) for name in ("kernel_size", "output_size") if name in kwargs]
        return make(*arguments[1:], *sizes, **kwargs), (arguments[0],)

    return lower


def _rectifier_call(kind: type[nn.Module]) -> Callable[[Maps, fx.Node], Lowered]:
    return _one_map(
        lambda *args, **kwargs: _rectifier(kind(*args[: 1 if kind in (nn.LeakyReLU, nn.ELU) else 0], **kwargs))
    )


def _sum(maps: Maps, node: fx.Node) -> Lowered:
    first, second = node.args[:2]
    if node.kwargs.get("alpha", 1) != 1:
        raise GraphError("a sum with a factor is not supported")
    if isinstance(first, fx.Node) and isinstance(second, fx.Node):
        return steps.Add(2), (first, second)
    source, number = (first, second) if isinstance(first, fx.Node) else (second, first)
    return _scale(maps, source, 1.0, number)


def _product(maps: Maps, node: fx.Node) -> Lowered:
    first, second = node.args[:2]
    if isinstance(first, fx.Node) and isinstance(second, fx.Node):
        raise GraphError("the product of two maps has no downward step in the paper")
    source, number = (first, second) if isinstance(first, fx.Node) else (second, first)
    return _scale(maps, source, number, 0.0)


def _scale(maps: Maps, source: Any, factor: Any, offset: Any) -> Lowered:  # noqa: ANN401 - fx arguments
    if not (isinstance(factor, int | float) and isinstance(offset, int | float)):
        raise GraphError("only constants that are plain numbers are supported")
    ones = torch.ones(maps.channels(source), dtype=maps.dtype)
    return steps.Scale(ones * factor, ones * offset), (source,)


def _concatenate(maps: Maps, node: fx.Node) -> Lowered:
    sources: Any = node.args[0] if node.args else node.kwargs["tensors"]
    dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if dimension not in (1, -3):
        raise GraphError(f"maps can only be concatenated along the channels, not along dimension {dimension}")
    return steps.Concatenate(tuple(maps.channels(source) for source in sources)), tuple(sources)


def _item(maps: Maps, node: fx.Node) -> Lowered:
    source, index = node.args
    if not (isinstance(index, tuple) and len(index) == 2 and index[0] == slice(None) and isinstance(index[1], int)):
        raise GraphError(f"only the index [:, channel] is supported, not {index}")
    channels = maps.channels(source)
    return steps.Channel(index[1] % channels, channels), (source,)


def _unsqueeze(_: Maps, node: fx.Node) -> Lowered:
    dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if dimension != 1:
        raise GraphError(f"only a new dimension 1 is supported, not {dimension}")
    return steps.Same("unsqueeze"), (node.args[0],)


def _reshape(_: Maps, node: fx.Node) -> Lowered:
    shape = node.args[1:] if len(node.args) > 2 else tuple(node.args[1])  # type: ignore[arg-type]
    if len(shape) != 2 or shape[1] != -1:
        raise GraphError(f"only a reshape to (n, -1) is supported, not {shape}")
    return steps.Flatten(), (node.args[0],)


def _mean(_: Maps, node: fx.Node) -> Lowered:
    dimensions: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if sorted(d % 4 for d in (dimensions if isinstance(dimensions, list | tuple) else ())) != [2, 3]:
        raise GraphError(f"only a mean over rows and columns is supported, not over {dimensions}")
    return pooling.AdaptiveAveragePool((1, 1)), (node.args[0],)


def _flatten_call(_: Maps, node: fx.Node) -> Lowered:
    start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    if start != 1:
        raise GraphError(f"only a flatten from dimension 1 is supported, not from {start}")
    return steps.Flatten(), (node.args[0],)


CALLS: dict[str, Callable[[Maps, fx.Node], Lowered]] = {
    "relu": _rectifier_call(nn.ReLU),
    "relu6": _rectifier_call(nn.ReLU6),
    "leaky_relu": _rectifier_call(nn.LeakyReLU),
    "elu": _rectifier_call(nn.ELU),
    "silu": _rectifier_call(nn.SiLU),
    "gelu": _rectifier_call(nn.GELU),
    "hardswish": _rectifier_call(nn.Hardswish),
    "max_pool2d": _one_map(_max_pool),
    "avg_pool2d": _one_map(_average_pool),
    "adaptive_avg_pool2d": _one_map(_adaptive),
    "dropout": _one_map(lambda *_, **__: steps.Same("dropout")),
    "contiguous": _one_map(lambda *_, **__: steps.Same("identity")),
    "flatten": _flatten_call,
    "view": _reshape,
    "reshape": _reshape,
    "mean": _mean,
    "add": _sum,
    "mul": _product,
    "cat": _concatenate,
    "getitem": _item,
    "unsqueeze": _unsqueeze,
}
