"""From a model to a list of steps. Takes a torch module in evaluation mode, gives its nodes; refuses what it does not know.

The graph is traced by torch.fx and its nodes are named as torchvision's feature extraction names them. Every node
becomes one step that computes out of place, so that a map that was looked at stays what it was.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torchvision.models.feature_extraction import NodePathTracer

from workers.core import steps
from workers.core.steps import Step
from workers.errors import GraphError

IN_PLACE_METHODS = {"relu_": "relu", "add_": "add", "mul_": "mul", "dropout_": "dropout"}


@dataclass(frozen=True, eq=False)
class Node:
    """One step in its place.

    Attributes:
        name: qualified name, as torchvision's feature extraction gives it.
        step: the operation.
        inputs: positions of the nodes that it takes, all before it.
        shape: (channels, height, width) of its output.
    """

    name: str
    step: Step
    inputs: tuple[int, ...]
    shape: tuple[int, int, int]


def trace(module: nn.Module, size: tuple[int, int]) -> tuple[Node, ...]:
    """Lower a module to nodes in the order of its graph.

    Args:
        module: a network in evaluation mode that takes (n, 3, height, width) and returns one tensor.
        size: height and width of its input.

    Returns:
        The nodes up to the output; the first one is the input.

    Raises:
        GraphError: the graph cannot be traced, holds an operation that is not known, or gives other numbers than the
            module itself.
    """
    graph, names = _traced(module)
    _unalias(graph, module)
    lowering = _Lowering(module, names, size)
    for node in graph.nodes:
        lowering.take(node)
    _agree(module, lowering, size)
    return tuple(lowering.nodes)


def _traced(module: nn.Module) -> tuple[fx.Graph, dict[fx.Node, str]]:
    tracer = NodePathTracer()
    try:
        graph = tracer.trace(module)
    except (fx.proxy.TraceError, TypeError, AttributeError, RuntimeError, NotImplementedError, ValueError) as error:
        raise GraphError(f"{type(module).__name__} cannot be traced: {error}") from error
    return graph, dict(tracer.node_to_qualname)


def _writes_in_place(node: fx.Node, module: nn.Module) -> bool:
    if node.op == "call_module":
        return bool(getattr(module.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_")
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        return bool(node.kwargs.get("inplace")) or name.endswith("_") or node.target in (operator.iadd, operator.imul)
    return False


def _unalias(graph: fx.Graph, module: nn.Module) -> None:
    """Let whoever reads a map behind an in-place operation take that operation's output: it sees the written map."""
    for node in graph.nodes:
        if not _writes_in_place(node, module):
            continue
        written = node.args[0]
        later = False
        for reader in list(graph.nodes):
            if later and isinstance(written, fx.Node):
                reader.replace_input_with(written, node)
            later = later or reader is node


def _agree(module: nn.Module, lowering: "_Lowering", size: tuple[int, int]) -> None:
    """Refuse a lowering that computes anything else than the module."""
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=lowering.dtype)
    with torch.inference_mode():
        wanted = module(images.clone())
        values: list[Tensor] = []
        for node in lowering.nodes:
            values.append(node.step.forward(*(values[i] for i in node.inputs)) if node.inputs else images)
    got = values[lowering.output]
    if not isinstance(wanted, Tensor) or wanted.numel() != got.numel():
        raise GraphError(f"{type(module).__name__} does not return one tensor that its graph explains")
    if not torch.allclose(got.reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max())):
        raise GraphError(
            f"the graph of {type(module).__name__} gives other numbers than the model: it hides a side effect"
        )


class _Lowering:
    """Turns fx nodes into steps one by one and runs each on zeros, so that all shapes are known."""

    def __init__(self, module: nn.Module, names: dict[fx.Node, str], size: tuple[int, int]) -> None:
        self.module = module
        self.names = names
        self.size = size
        self.nodes: list[Node] = []
        self.output = -1
        self.dtype = next((p.dtype for p in module.parameters()), torch.float32)
        self._positions: dict[fx.Node, int] = {}
        self._values: list[Tensor] = []

    def take(self, node: fx.Node) -> None:
        if node.op == "output":
            self.output = self._position(node, node.args[0])
        elif not _is_number(node):
            step, inputs = self._lower(node)
            self._append(node, step, tuple(self._position(node, source) for source in inputs))

    def _append(self, node: fx.Node, step: Step, inputs: tuple[int, ...]) -> None:
        with torch.inference_mode():
            maps = [self._values[i] for i in inputs]
            try:
                value = step.forward(*maps) if inputs else torch.zeros(1, 3, *self.size, dtype=self.dtype)
            except RuntimeError as error:
                raise GraphError(f"node {self._name(node)!r} cannot run on an input of {self.size}: {error}") from error
        self._positions[node] = len(self.nodes)
        self._values.append(value)
        channels, height, width = value.shape[1:]
        self.nodes.append(Node(self._name(node), step, inputs, (channels, height, width)))

    def _lower(self, node: fx.Node) -> tuple[Step, tuple[Any, ...]]:
        if node.op == "placeholder":
            if self.nodes:
                raise GraphError(f"the model takes more than one input: {node.target!r}")
            return steps.Input(), ()
        if node.op == "call_module":
            module = self.module.get_submodule(str(node.target))
            make = MODULES.get(type(module))
            if make is None:
                raise self._unknown(node, type(module).__name__)
            return make(module), node.args[:1]
        return self._lower_call(node)

    def _lower_call(self, node: fx.Node) -> tuple[Step, tuple[Any, ...]]:
        name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
        name = IN_PLACE_METHODS.get(name, name.strip("_"))
        make = CALLS.get(name.removeprefix("i") if name in ("iadd", "imul") else name)
        if make is None or node.op == "get_attr":
            raise self._unknown(node, name)
        try:
            return make(self, node)
        except _NotLinear as reason:
            raise GraphError(f"node {self._name(node)!r} ({name}): {reason}") from None

    def _unknown(self, node: fx.Node, what: str) -> GraphError:
        return GraphError(f"node {self._name(node)!r} is a {what}, for which no downward step is known")

    def _name(self, node: fx.Node) -> str:
        return self.names.get(node, node.name)

    def _position(self, node: fx.Node, source: Any) -> int:  # noqa: ANN401 - any fx argument
        if not isinstance(source, fx.Node) or source not in self._positions:
            raise GraphError(f"node {self._name(node)!r} takes {source!r}, which is no feature map")
        return self._positions[source]

    def channels(self, source: Any) -> int:  # noqa: ANN401 - any fx argument
        """Channels of the map that an fx node gives."""
        return self.nodes[self._positions[source]].shape[0]


class _NotLinear(Exception):
    """An operation whose arguments make it one that we do not know; the text says why."""


def _is_number(node: fx.Node) -> bool:
    """Whether a node is a size that only a reshape reads."""
    if node.op == "call_method" and node.target == "size":
        return True
    if node.target is getattr and node.args[1] == "shape":
        return True
    return node.target is operator.getitem and isinstance(node.args[0], fx.Node) and _is_number(node.args[0])


def _pair(value: Any) -> steps.Pair:  # noqa: ANN401 - int or sequence
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _convolution(module: nn.Conv2d) -> Step:
    if module.padding_mode != "zeros":
        raise GraphError(f"a convolution with padding mode {module.padding_mode!r}: only 'zeros' is known")
    stride, dilation = _pair(module.stride), _pair(module.dilation)
    padding: Any = module.padding
    if padding == "valid":
        padding = 0
    elif padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, module.kernel_size, strict=True)]
        if any(total % 2 for total in totals):
            raise GraphError("a convolution with padding 'same' and an even kernel pads one side more; it is not known")
        padding = [total // 2 for total in totals]
    bias = None if module.bias is None else module.bias.detach()
    return steps.Convolution(module.weight.detach(), bias, stride, _pair(padding), dilation, module.groups)


def _batch_norm(module: nn.BatchNorm2d) -> Step:
    if module.running_mean is None or module.running_var is None:
        raise GraphError("a batch norm without running statistics depends on the batch; it cannot be looked at")
    weight, bias = (None if p is None else p.detach() for p in (module.weight, module.bias))
    return steps.BatchNorm(module.running_mean, module.running_var, weight, bias, module.eps)


def _max_pool(size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> Step:  # noqa: ANN401
    return steps.MaxPool(_pair(size), _pair(stride or size), _pair(padding), _pair(dilation), ceil_mode)


def _average_pool(
    size: Any,  # noqa: ANN401
    stride: Any = None,  # noqa: ANN401
    padding: Any = 0,  # noqa: ANN401
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Step:
    return steps.AveragePool(
        _pair(size), _pair(stride or size), _pair(padding), (1, 1), ceil_mode, count_include_pad, divisor_override
    )


def _adaptive(size: Any) -> Step:  # noqa: ANN401
    extent = (size, size) if isinstance(size, int) else tuple(size)
    if any(side is None for side in extent):
        raise GraphError("an adaptive pooling that keeps a side of its input is not known")
    return steps.AdaptiveAveragePool((extent[0], extent[1]))


def _rectifier(module: nn.Module) -> Step:
    kind = type(module)
    plain = RECTIFIERS[kind](module)
    return steps.Rectifier(plain, exact=kind in (nn.ReLU, nn.ReLU6))


def _flatten(module: nn.Flatten) -> Step:
    if module.start_dim != 1 or module.end_dim != -1:
        raise GraphError(f"a flatten of dimensions {module.start_dim} to {module.end_dim}: only 1 to -1 is known")
    return steps.Flatten()


# Every rectifier out of place, whatever the module says.
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

Lowered = tuple[Step, tuple[Any, ...]]


def _one(make: Callable[..., Step]) -> Callable[[_Lowering, fx.Node], Lowered]:
    """A call whose first argument is the map and whose others go to `make`."""

    def lower(_: _Lowering, node: fx.Node) -> Lowered:
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


def _rectifier_call(kind: type[nn.Module]) -> Callable[[_Lowering, fx.Node], Lowered]:
    return _one(lambda *args, **kwargs: _rectifier(kind(*args[: 1 if kind in (nn.LeakyReLU, nn.ELU) else 0], **kwargs)))


def _sum(lowering: _Lowering, node: fx.Node) -> Lowered:
    first, second = node.args[:2]
    if node.kwargs.get("alpha", 1) != 1:
        raise _NotLinear("a sum with a factor is not known")
    if isinstance(first, fx.Node) and isinstance(second, fx.Node):
        return steps.Add(2), (first, second)
    source, number = (first, second) if isinstance(first, fx.Node) else (second, first)
    return _scale(lowering, source, 1.0, number)


def _product(lowering: _Lowering, node: fx.Node) -> Lowered:
    first, second = node.args[:2]
    if isinstance(first, fx.Node) and isinstance(second, fx.Node):
        raise _NotLinear("the product of two maps has no downward step in the paper")
    source, number = (first, second) if isinstance(first, fx.Node) else (second, first)
    return _scale(lowering, source, number, 0.0)


def _scale(lowering: _Lowering, source: Any, factor: Any, offset: Any) -> Lowered:  # noqa: ANN401 - fx arguments
    if not (isinstance(factor, int | float) and isinstance(offset, int | float)):
        raise _NotLinear("only constants that are plain numbers are known")
    ones = torch.ones(lowering.channels(source), dtype=lowering.dtype)
    return steps.Scale(ones * factor, ones * offset), (source,)


def _concatenate(lowering: _Lowering, node: fx.Node) -> Lowered:
    sources: Any = node.args[0] if node.args else node.kwargs["tensors"]
    dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if dimension not in (1, -3):
        raise _NotLinear(f"maps can only be put side by side along the channels, not along dimension {dimension}")
    return steps.Concatenate(tuple(lowering.channels(source) for source in sources)), tuple(sources)


def _item(lowering: _Lowering, node: fx.Node) -> Lowered:
    source, index = node.args
    if not (isinstance(index, tuple) and len(index) == 2 and index[0] == slice(None) and isinstance(index[1], int)):
        raise _NotLinear(f"of an index only [:, channel] is known, not {index}")
    channels = lowering.channels(source)
    return steps.Channel(index[1] % channels, channels), (source,)


def _unsqueeze(_: _Lowering, node: fx.Node) -> Lowered:
    dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if dimension != 1:
        raise _NotLinear(f"only a new dimension 1 is known, not {dimension}")
    return steps.Same("unsqueeze"), (node.args[0],)


def _reshape(_: _Lowering, node: fx.Node) -> Lowered:
    shape = node.args[1:] if len(node.args) > 2 else tuple(node.args[1])  # type: ignore[arg-type]
    if len(shape) != 2 or shape[1] != -1:
        raise _NotLinear(f"only a reshape to (n, -1) is known, not {shape}")
    return steps.Flatten(), (node.args[0],)


def _mean(_: _Lowering, node: fx.Node) -> Lowered:
    dimensions: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if sorted(d % 4 for d in (dimensions if isinstance(dimensions, list | tuple) else ())) != [2, 3]:
        raise _NotLinear(f"only a mean over rows and columns is known, not over {dimensions}")
    return steps.AdaptiveAveragePool((1, 1)), (node.args[0],)


def _flatten_call(_: _Lowering, node: fx.Node) -> Lowered:
    start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    if start != 1:
        raise _NotLinear(f"only a flatten from dimension 1 is known, not from {start}")
    return steps.Flatten(), (node.args[0],)


CALLS: dict[str, Callable[[_Lowering, fx.Node], Lowered]] = {
    "relu": _rectifier_call(nn.ReLU),
    "relu6": _rectifier_call(nn.ReLU6),
    "leaky_relu": _rectifier_call(nn.LeakyReLU),
    "elu": _rectifier_call(nn.ELU),
    "silu": _rectifier_call(nn.SiLU),
    "gelu": _rectifier_call(nn.GELU),
    "hardswish": _rectifier_call(nn.Hardswish),
    "max_pool2d": _one(_max_pool),
    "avg_pool2d": _one(_average_pool),
    "adaptive_avg_pool2d": _one(_adaptive),
    "dropout": _one(lambda *_, **__: steps.Same("dropout")),
    "contiguous": _one(lambda *_, **__: steps.Same("identity")),
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
