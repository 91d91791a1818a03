"""Networks with random weights. Takes a network and some of its nodes, gives the network with these nodes untrained.

The randomisation check of Adebayo et al. 2018, section 4: if a method shows what a network has learned, its pictures must
change when weights are replaced by random ones, layer by layer from the unit's layer down to the input.

A layer is reset to its state before training: weights from He's normal distribution (2015: variance 2 / fan-in, which keeps
the size of a signal from layer to layer), biases of 0, batch norms that change nothing. With biases of 0 a random layer
preserves any scale, so the size of the maps of trained layers below it does not matter.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from workers.core import deconvnet, recording, steps
from workers.core.network import Network
from workers.core.nodes import Node
from workers.core.receptive_field import Box
from workers.core.recording import Tape, Units
from workers.core.rectifiers import Pointwise
from workers.core.steps import Step
from workers.spec.parts import Method

_WEIGHTED = steps.Convolution | steps.Linear


@dataclass(frozen=True)
class Stage:
    """One step of the randomisation.

    Attributes:
        name: name of its lowest weighted node. A cascade has random weights from the unit's layer down to this node.
        nodes: numbers of the nodes that this stage randomises.
    """

    name: str
    nodes: tuple[int, ...]


def stages(network: Network, number: int, most: int) -> tuple[Stage, ...]:
    """The stages for a node, from the top down.

    Args:
        network: the network.
        number: the node. Layers above it do not influence its units.
        most: largest number of stages. A stage is one convolution or fully connected layer with the batch norms after it;
            if there are more layers than `most`, neighbouring layers share a stage.

    Returns:
        Stages of sizes as equal as possible. Together they contain all learned numbers that the node depends on.
    """
    layers = _weighted_layers(network, number)
    count = min(most, len(layers))
    bounds = [len(layers) * stage // max(count, 1) for stage in range(count + 1)]
    groups = [layers[start:stop] for start, stop in pairwise(bounds)]
    return tuple(
        Stage(network.nodes[group[-1][0]].name, tuple(node for layer in group for node in layer)) for group in groups
    )


def before_rectifier(network: Network, number: int) -> int:
    """The input node of a node's rectifier; the node itself if it has none.

    In a random network half of the units are 0. There the rectifier's derivative is 0, and the whole gradient would be blank.
    A projection from before the rectifier is the same up to its scale if the unit is active, and exists if it is not.
    """
    while isinstance(network.nodes[number].step, Pointwise | steps.Same):
        [number] = network.nodes[number].inputs
    return number


class Draw:
    """One random network. A node's random numbers depend only on the seed and the node's name."""

    def __init__(self, network: Network, seed: int) -> None:
        self.network = network
        self.seed = seed
        self._nodes: dict[int, Node] = {}

    def randomise(self, numbers: Collection[int]) -> Network:
        """The network with random weights in some nodes."""
        nodes = enumerate(self.network.nodes)
        return Network(tuple(self._node(number) if number in numbers else node for number, node in nodes))

    def _node(self, number: int) -> Node:
        if number not in self._nodes:
            node = self.network.nodes[number]
            self._nodes[number] = replace(node, step=reset(node.step, _seed(self.seed, node.name)))
        return self._nodes[number]


def reset(step: Step, seed: int) -> Step:
    """A step in its state before training; a step without learned numbers is returned unchanged.

    Random numbers are generated on the CPU, in float32, so that they are the same for every device.
    """
    if isinstance(step, _WEIGHTED):
        fan_in = step.weight[0].numel()
        weight = torch.randn(step.weight.shape, generator=torch.Generator().manual_seed(seed)) * (2 / fan_in) ** 0.5
        return replace(step, weight=torch.empty_like(step.weight).copy_(weight), bias=_fill_like(step.bias, 0))
    if isinstance(step, steps.BatchNorm):
        ones, zeros = torch.ones_like(step.variance), torch.zeros_like(step.mean)
        weight_, bias = _fill_like(step.weight, 1), _fill_like(step.bias, 0)
        return replace(step, mean=zeros, variance=ones, weight=weight_, bias=bias)
    return step


def record(network: Network, images: Tensor, wanted: Mapping[int, Units]) -> Tape:
    """Run the network, and record what all three methods of projection need for the wanted units."""
    return recording.record(network, images, wanted, Method.GRADIENT)


def projections(tape: Tape, method: Method, number: int, units: Units, values: Tensor) -> list[tuple[Tensor, Box]]:
    """The projections of units of one node, in the form of `deconvnet.project`.

    Args:
        tape: the tape from `record`.
        method: method of projection.
        number: the node.
        units: units of the node.
        values: the values that the projections start with, (units,).
    """
    size = deconvnet.chunk_size(tape.network, number, tape.values[number].device.type)
    results: list[tuple[Tensor, Box]] = []
    for start in range(0, len(units), size):
        part = slice(start, start + size)
        signals, boxes = deconvnet.project(replace(tape, method=method), number, units.part(part), values[part])
        results += zip(signals, boxes, strict=True)
    return results


def _weighted_layers(network: Network, number: int) -> list[tuple[int, ...]]:
    """The nodes with learned numbers that a node depends on, from the top, each with the batch norms directly after it."""
    layers, batch_norms = list[tuple[int, ...]](), dict[int, list[int]]()
    for index in sorted(network.cone(number), reverse=True):
        node = network.nodes[index]
        if isinstance(node.step, steps.BatchNorm) and isinstance(network.nodes[node.inputs[0]].step, _WEIGHTED):
            batch_norms.setdefault(node.inputs[0], []).append(index)
        elif isinstance(node.step, steps.BatchNorm | _WEIGHTED):
            layers.append((index, *batch_norms.get(index, ())))
    return layers


def _seed(seed: int, name: str) -> int:
    """A seed of 63 bits that depends only on a seed and a name."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8]) >> 1


def _fill_like(tensor: Tensor | None, value: float) -> Tensor | None:
    return None if tensor is None else torch.full_like(tensor, value)
