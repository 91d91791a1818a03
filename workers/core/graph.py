"""From a model to a list of steps. Takes a torch module in evaluation mode, gives its nodes.

The module is exported by torch.export, and its nodes have the names of torchvision's feature extraction. Every node
becomes one step that computes out of place, so that no later step changes a map. An operation without a downward step
becomes a node too: it only runs upward, and layers above it have no projections.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from workers.core import arrangement
from workers.core.lowering import Lowering, Place
from workers.core.network import Network
from workers.core.nodes import Node
from workers.core.operations import export_operations, results
from workers.core.rules.registry import RULES
from workers.errors import DivergedError, GraphError

CHANNELS = 3


def trace(module: nn.Module, size: tuple[int, int], channels: int = CHANNELS) -> tuple[Node, ...]:
    """Lower a module to nodes in the order of its graph.

    Args:
        module: a network in evaluation mode that takes (n, channels, height, width).
        size: height and width of its input.
        channels: channels of its input.

    Returns:
        All nodes; the first one is the input.

    Raises:
        GraphError: the module cannot be exported, mixes the images of a batch, or gives other numbers than its graph.
        DivergedError: the module outputs NaN or infinity.
    """
    program = export_operations(module, channels, size)
    lowering = Lowering(RULES, program.dtype)
    for operation in program.operations:
        lowering.take(operation)
    places = [lowering.place(result) for result in results(program.output)]
    if not places:
        raise GraphError(f"{type(module).__name__} has no output that depends on its input")
    images = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0), dtype=program.dtype)
    _require_agreement(module, Network(tuple(lowering.nodes)), places, images)
    output = places[0].node
    return tuple(replace(node, is_output=number == output) for number, node in enumerate(lowering.nodes))


def _require_agreement(module: nn.Module, network: Network, places: list[Place], images: Tensor) -> None:
    """Run the module and the lowered graph on noise; raise an error if their outputs differ."""
    name = type(module).__name__
    with torch.inference_mode():
        expected = [value for value in _pytree.tree_leaves(module(images.clone())) if isinstance(value, Tensor)]
        try:
            actual, alone = (_run(network, places, some) for some in (images, images[:1]))
        except RuntimeError as error:
            raise GraphError(f"the graph of {name} cannot run: {str(error).splitlines()[0]}") from error
    if any(value.is_floating_point() and not bool(value.isfinite().all()) for value in expected):
        raise DivergedError(
            f"{name} outputs NaN or infinity for noise images: its weights have diverged; give an earlier checkpoint"
        )
    if len(expected) != len(actual) or not all(map(_close, actual, expected)):
        raise GraphError(f"the graph of {name} gives different results from the model, which may have a side effect")
    if not all(_close(one, both[:1]) for one, both in zip(alone, actual, strict=True)):
        raise GraphError(
            f"{name} gives different results for an image in a batch and for the same image alone, which is not supported"
        )


def _run(network: Network, places: list[Place], images: Tensor) -> list[Tensor]:
    """The results at some places, as the model sees them."""
    values: dict[int, Tensor] = {}
    network.forward(images, {place.node for place in places}, lambda number, _, value: values.update({number: value}))
    return [_as_seen(values[place.node], place) for place in places]


def _as_seen(value: Tensor, place: Place) -> Any:  # noqa: ANN401 - a tensor, or a list of tensors
    return value if place.layout is None else arrangement.arrange(value, place.layout)


def _close(actual: Tensor, expected: Tensor) -> bool:
    if actual.shape != expected.shape or not expected.is_floating_point():
        return actual.shape == expected.shape
    return torch.allclose(actual, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
