"""Batch norms folded into the convolutions below them. Takes a network, gives one with the same maps in fewer operations."""

from collections.abc import Collection, Iterator
from dataclasses import replace

import torch

from workers.core.network import Network
from workers.core.steps import BatchNorm, Convolution, Same


def fold(network: Network, wanted: Collection[int]) -> Network:
    """A network for the forward pass alone, whose maps differ from the original ones by rounding only.

    The convolution below a folded batch norm computes what the batch norm gives, which then does nothing.

    Args:
        network: the network. What is folded is in float32 at least.
        wanted: nodes whose maps must stay as they are: their convolutions are not changed.
    """
    nodes = list(network.nodes)
    for number, below, convolution, norm in _pairs(network, wanted):
        nodes[below] = replace(nodes[below], step=_folded(convolution, norm))
        nodes[number] = replace(nodes[number], step=Same(norm.kind))
    return Network(tuple(nodes))


def foldable(network: Network, wanted: Collection[int]) -> list[int]:
    """The nodes of the batch norms that `fold` folds, ascending."""
    return [number for number, *_ in _pairs(network, wanted)]


def _pairs(network: Network, wanted: Collection[int]) -> Iterator[tuple[int, int, Convolution, BatchNorm]]:
    """The batch norms that can be folded, and the convolutions below them, with the numbers of their nodes."""
    for number, node in enumerate(network.nodes):
        if not isinstance(node.step, BatchNorm):
            continue
        [below] = node.inputs
        step = network.nodes[below].step
        if isinstance(step, Convolution) and below not in wanted and network.users(below) == [number]:
            yield number, below, step, node.step


def _folded(convolution: Convolution, norm: BatchNorm) -> Convolution:
    """A convolution with the batch norm's factor and offset, which are computed in float64."""
    factor = torch.rsqrt(norm.variance.double() + norm.epsilon)
    if norm.weight is not None:
        factor = factor * norm.weight
    offset = (
        -norm.mean.double() * factor if convolution.bias is None else (convolution.bias - norm.mean.double()) * factor
    )
    if norm.bias is not None:
        offset = offset + norm.bias
    weight = convolution.weight * factor.view(-1, 1, 1, 1)
    dtype = torch.promote_types(convolution.weight.dtype, torch.float32)
    return replace(convolution, weight=weight.to(dtype), bias=offset.to(dtype))
