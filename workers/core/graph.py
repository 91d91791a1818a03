"""From a model to a list of steps. Takes a torch module in evaluation mode, gives its nodes; refuses unknown operations.

The graph is traced by torch.fx, and its nodes have the names of torchvision's feature extraction. Every node becomes one
step that computes out of place, so that no later step changes a map.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from workers.core import lowering, steps
from workers.core.steps import Step
from workers.errors import DivergedError, GraphError


@dataclass(frozen=True, eq=False)
class Node:
    """One step of the graph.

    Attributes:
        name: qualified name in torchvision's feature extraction.
        step: the operation.
        inputs: numbers of its input nodes, which all precede it.
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
        GraphError: the graph cannot be traced, contains an unknown operation, or gives other numbers than the module.
        DivergedError: the module gives NaN or infinity.
    """
    graph, names = _trace_graph(module)
    _unalias(graph, module)
    lowered = _Lowering(module, names, size)
    for node in graph.nodes:
        lowered.take(node)
    _require_agreement(module, lowered, size)
    return tuple(lowered.nodes)


def _trace_graph(module: nn.Module) -> tuple[fx.Graph, dict[fx.Node, str]]:
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
    """Make nodes that read a map after an in-place operation on it read the operation's output instead."""
    for node in graph.nodes:
        if not _writes_in_place(node, module):
            continue
        overwritten = node.args[0]
        is_later = False
        for reader in list(graph.nodes):
            if is_later and isinstance(overwritten, fx.Node):
                reader.replace_input_with(overwritten, node)
            is_later = is_later or reader is node


def _require_agreement(module: nn.Module, lowered: "_Lowering", size: tuple[int, int]) -> None:
    """Run the module and the lowered graph on noise; raise an error if their outputs differ."""
    name = type(module).__name__
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=lowered.dtype)
    with torch.inference_mode():
        expected = module(images.clone())
        actual = lowered.run(images)
    if isinstance(expected, Tensor) and not bool(expected.isfinite().all()):
        raise DivergedError(
            f"{name} gives NaN or infinity for noise images: its weights have diverged; give an earlier checkpoint"
        )
    if not isinstance(expected, Tensor) or expected.numel() != actual.numel():
        raise GraphError(f"{name} does not return exactly one tensor, the output of its graph")
    if not torch.allclose(actual.reshape(expected.shape), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())):
        raise GraphError(f"the graph of {name} gives different numbers than the model, which has a hidden side effect")


class _Lowering:
    """Converts fx nodes into steps one by one, and runs each on zeros to find out its shape."""

    def __init__(self, module: nn.Module, names: dict[fx.Node, str], size: tuple[int, int]) -> None:
        self.module = module
        self.names = names
        self.size = size
        self.nodes: list[Node] = []
        self.output = -1
        self.dtype = next((p.dtype for p in module.parameters()), torch.float32)
        self._positions: dict[fx.Node, int] = {}
        self._values: list[Tensor] = []

    def run(self, images: Tensor) -> Tensor:
        """The output of all steps, for images (n, 3, height, width)."""
        values: list[Tensor] = []
        for node in self.nodes:
            values.append(node.step.forward(*(values[i] for i in node.inputs)) if node.inputs else images)
        return values[self.output]

    def take(self, node: fx.Node) -> None:
        """Convert the next fx node."""
        if node.op == "output":
            self.output = self._position(node, node.args[0])
        elif not lowering.is_number(node):
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

    def _lower(self, node: fx.Node) -> lowering.Lowered:
        if node.op == "placeholder":
            if self.nodes:
                raise GraphError(f"the model takes more than one input: {node.target!r}")
            return steps.Input(), ()
        try:
            if node.op == "call_module":
                return lowering.lower_module(self.module.get_submodule(str(node.target))), node.args[:1]
            return lowering.lower_call(self, node)
        except GraphError as error:
            raise GraphError(f"node {self._name(node)!r}: {error}") from None

    def _name(self, node: fx.Node) -> str:
        return self.names.get(node, node.name)

    def _position(self, node: fx.Node, source: Any) -> int:  # noqa: ANN401 - any fx argument
        if not isinstance(source, fx.Node) or source not in self._positions:
            raise GraphError(f"node {self._name(node)!r} takes {source!r}, which is not a feature map")
        return self._positions[source]

    def channels(self, source: Any) -> int:  # noqa: ANN401 - any fx argument
        """The number of channels of an fx node's output."""
        return self.nodes[self._positions[source]].shape[0]
