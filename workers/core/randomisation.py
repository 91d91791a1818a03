"""Networks that have forgotten. Takes a network and some of its nodes, gives it with these as they were before training.

The randomisation check of Adebayo et al. 2018, section 4: if a method shows what a network has learned, its pictures must
change when the weights are replaced by random ones, layer by layer from the unit's own down to the input.

A layer is put back to where training began: weights from He's normal distribution (2015: variance 2 / fan-in, which keeps
the size of a signal from layer to layer), biases 0, batch norms that pass what they get. With biases of 0 a random layer
passes any scale on as it is, so how large the maps of trained layers below it are does not matter.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from workers.core import deconvnet, steps
from workers.core.deconvnet import Tape, Units
from workers.core.graph import Node
from workers.core.network import Network
from workers.core.receptive_field import Box
from workers.core.steps import Step
from workers.spec.parts import Method

_WEIGHTED = steps.Convolution | steps.Linear


@dataclass(frozen=True)
class Stage:
    """One step of the randomisation.

    Attributes:
        name: its lowest weighted node: in a cascade, that down to which everything is random.
        nodes: numbers of the nodes that it adds to the random ones.
    """

    name: str
    nodes: tuple[int, ...]


def stages(network: Network, number: int, most: int) -> tuple[Stage, ...]:
    """The weights that a node's units depend on, from the top down.

    Args:
        network: the network.
        number: the node; the layers above it do not matter to its units.
        most: a stage is one convolution or fully connected layer, with the batch norms behind it; where there are more than
            so many, neighbours share one.

    Returns:
        Stages, as even as can be; together they hold every learned number below the node.
    """
    layers = _weighted(network, number)
    count = min(most, len(layers))
    bounds = [len(layers) * each // max(count, 1) for each in range(count + 1)]
    groups = [layers[start:stop] for start, stop in pairwise(bounds)]
    return tuple(Stage(network.nodes[group[-1][0]].name, tuple(n for each in group for n in each)) for group in groups)


def before_rectifier(network: Network, number: int) -> int:
    """The node whose units a node's own rectifier rectifies, if it has one.

    A random network leaves half of its units at 0, where the rectifier's derivative is 0 and would make the whole gradient
    blank. From the value before it a projection is the same up to its scale where the unit is awake, and is there elsewhere.
    """
    while isinstance(network.nodes[number].step, steps.Rectifier | steps.Same):
        [number] = network.nodes[number].inputs
    return number


class Draw:
    """One random network: each node's numbers are drawn by the seed and the node's name, whatever else is drawn."""

    def __init__(self, network: Network, seed: int) -> None:
        self.network = network
        self.seed = seed
        self._drawn: dict[int, Node] = {}

    def randomised(self, numbers: Collection[int]) -> Network:
        """The network with some nodes as they were before training."""
        nodes = enumerate(self.network.nodes)
        return Network(tuple(self._node(number) if number in numbers else node for number, node in nodes))

    def _node(self, number: int) -> Node:
        if number not in self._drawn:
            node = self.network.nodes[number]
            self._drawn[number] = replace(node, step=forgotten(node.step, _seed(self.seed, node.name)))
        return self._drawn[number]


def forgotten(step: Step, seed: int) -> Step:
    """A step as it was before training; one that learns nothing stays.

    The numbers are drawn on the CPU, in float32, so that they are the same for every device.
    """
    if isinstance(step, _WEIGHTED):
        fan_in = step.weight[0].numel()
        drawn = torch.randn(step.weight.shape, generator=torch.Generator().manual_seed(seed)) * (2 / fan_in) ** 0.5
        return replace(step, weight=torch.empty_like(step.weight).copy_(drawn), bias=_filled(step.bias, 0))
    if isinstance(step, steps.BatchNorm):
        ones, zeros = torch.ones_like(step.variance), torch.zeros_like(step.mean)
        return replace(step, mean=zeros, variance=ones, weight=_filled(step.weight, 1), bias=_filled(step.bias, 0))
    return step


def record(network: Network, images: Tensor, wanted: Mapping[int, Units]) -> Tape:
    """Run the network once and keep what all three ways down from the wanted units need."""
    return deconvnet.record(network, images, wanted, Method.GRADIENT)


def projections(tape: Tape, method: Method, number: int, units: Units, values: Tensor) -> list[tuple[Tensor, Box]]:
    """The projections of some units of one node by one of the three methods, each as `deconvnet.project` gives it.

    Args:
        tape: of `record`.
        method: the way down.
        number: the node.
        units: some of its units.
        values: what they start with.
    """
    size = deconvnet.chunk_size(tape.network, number)
    found: list[tuple[Tensor, Box]] = []
    for start in range(0, len(units), size):
        part = slice(start, start + size)
        signals, boxes = deconvnet.project(replace(tape, method=method), number, units.part(part), values[part])
        found += zip(signals, boxes, strict=True)
    return found


def _weighted(network: Network, number: int) -> list[tuple[int, ...]]:
    """Nodes with learned numbers that a node's units depend on, from the top: each with the batch norms right behind it."""
    found, behind = list[tuple[int, ...]](), dict[int, list[int]]()
    for each in sorted(network.cone(number), reverse=True):
        node = network.nodes[each]
        if isinstance(node.step, steps.BatchNorm) and isinstance(network.nodes[node.inputs[0]].step, _WEIGHTED):
            behind.setdefault(node.inputs[0], []).append(each)
        elif isinstance(node.step, steps.BatchNorm | _WEIGHTED):
            found.append((each, *behind.get(each, ())))
    return found


def _seed(seed: int, name: str) -> int:
    """63 bits that depend on a seed and a name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8]) >> 1


def _filled(tensor: Tensor | None, value: float) -> Tensor | None:
    return None if tensor is None else torch.full_like(tensor, value)
