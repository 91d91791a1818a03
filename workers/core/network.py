"""A network as a list of steps, whose layers can be looked at. Takes images, shows feature maps; knows its geometry."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from workers.core import steps
from workers.core.graph import Node
from workers.core.receptive_field import Field, Span
from workers.errors import GraphError, UnknownLayerError

Visit = Callable[[int, tuple[Tensor, ...], Tensor], None]
Cone = tuple[Span, Span]


@dataclass(frozen=True)
class Layer:
    """A node whose feature map can be looked at.

    Attributes:
        index: position in `Network.layers`.
        name: name of the node.
        kind: what the node does.
        channels: channels of its map.
        height: rows of its map.
        width: columns of its map.
        field: receptive field of its units.
        auto: whether `auto` selects it.
    """

    index: int
    name: str
    kind: str
    channels: int
    height: int
    width: int
    field: Field
    auto: bool

    @property
    def node(self) -> int:
        """Position of its node in `Network.nodes`; node 0 is the input, which is not a layer."""
        return self.index + 1


@dataclass(frozen=True, eq=False)
class Network:
    """The nodes of a network in the order in which they run; node 0 is the input, every other node is a layer."""

    nodes: tuple[Node, ...]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All layers in the order of the graph."""
        automatic = self._automatic()
        return tuple(
            Layer(number - 1, node.name, node.step.kind, *node.shape, self.field(number), number in automatic)
            for number, node in enumerate(self.nodes)
            if number
        )

    def select(self, patterns: Sequence[str]) -> tuple[Layer, ...]:
        """The layers that names, globs or 'auto' stand for, in the order of the graph.

        Raises:
            UnknownLayerError: a pattern matches nothing.
        """
        chosen: set[int] = set()
        for pattern in patterns:
            matching = {layer.index for layer in self.layers if _matches(layer, pattern)}
            if not matching:
                raise UnknownLayerError(pattern, [layer.name for layer in self.layers])
            chosen |= matching
        return tuple(self.layers[index] for index in sorted(chosen))

    def users(self, number: int) -> list[int]:
        """The nodes that take the output of a node."""
        return [user for user, node in enumerate(self.nodes) if number in node.inputs]

    def forward(self, images: Tensor, wanted: Collection[int], visit: Visit, *, overwrite: bool = False) -> None:
        """Run up to the last wanted node and show each wanted one; a map is dropped after its last reader.

        Args:
            images: (n, 3, height, width), model-input scale.
            wanted: numbers of nodes.
            visit: gets the number, the inputs and the output (n, channels, height, width) of each wanted node, in order.
            overwrite: a ReLU may write over its input, so what `visit` gets may only be read while it runs.
        """
        last = max(wanted)
        values: dict[int, Tensor] = {}
        for number, node in enumerate(self.nodes[: last + 1]):
            inputs = tuple(values[i] for i in node.inputs)
            if not node.inputs:
                values[number] = images
            elif overwrite and number in self._overwriting:
                values[number] = torch.relu_(inputs[0])
            else:
                values[number] = node.step.forward(*inputs)
            if number in wanted:
                visit(number, inputs, values[number])
            for i in node.inputs:
                if self._last_reader[i] == number:
                    values.pop(i, None)

    def to(self, *, device: str | None = None, dtype: torch.dtype | None = None) -> "Network":
        """The same network with its numbers elsewhere or in another format; convolutions channels last in memory."""

        def moved(value: Any) -> Any:  # noqa: ANN401 - any field of a step
            if not isinstance(value, Tensor):
                return value
            layout = torch.channels_last if value.dim() == 4 else torch.preserve_format
            return value.to(device=device, dtype=dtype, memory_format=layout)

        def step(old: steps.Step) -> steps.Step:
            fields = {name: moved(value) for name, value in vars(old).items() if isinstance(value, Tensor)}
            return replace(old, **fields) if fields else old  # type: ignore[type-var]

        return Network(tuple(replace(node, step=step(node.step)) for node in self.nodes))

    def field(self, number: int) -> Field:
        """The nominal receptive field of a node's units: over all paths, as if the maps had no ends."""
        rows, columns = self.cone(number)[0]
        return Field(rows, columns)

    def cone(self, number: int, *, clipped: bool = False) -> dict[int, Cone]:
        """For every node below (and the node itself) the positions that a unit of the node can be changed by.

        Args:
            number: the node whose units are asked for.
            clipped: where a span would be as large as the map, take the whole map for every unit.

        Returns:
            Spans of rows and of columns by node number.
        """
        spans: dict[int, Cone] = {number: (Span(1, 0, 1), Span(1, 0, 1))}
        for upper in range(number, 0, -1):
            if upper not in spans:
                continue
            spans[upper] = self._settled(upper, spans[upper], clipped=clipped)
            for source in self.nodes[upper].inputs:
                below = self._below(upper, source, spans[upper])
                spans[source] = _hull(spans[source], below) if source in spans else below
        spans[0] = self._settled(0, spans[0], clipped=clipped)
        return spans

    def _below(self, upper: int, source: int, cone: Cone) -> Cone:
        step = self.nodes[upper].step
        if step.whole:
            return self._whole(source)
        return step.below(cone[0], 0), step.below(cone[1], 1)

    def _whole(self, number: int) -> Cone:
        _, height, width = self.nodes[number].shape
        return Span(0, 0, height), Span(0, 0, width)

    def _settled(self, number: int, cone: Cone, *, clipped: bool) -> Cone:
        whole = self._whole(number)
        rows, columns = (
            w if c.step == 0 or (clipped and c.size >= w.size) else c for c, w in zip(cone, whole, strict=True)
        )
        return rows, columns

    @cached_property
    def _last_reader(self) -> dict[int, int]:
        return {source: number for number, node in enumerate(self.nodes) for source in node.inputs}

    @cached_property
    def _overwriting(self) -> frozenset[int]:
        """ReLUs that are the only reader of a map that is nobody's view."""
        fresh = (steps.Convolution, steps.BatchNorm, steps.Add, steps.Concatenate)
        return frozenset(
            number
            for number, node in enumerate(self.nodes)
            if isinstance(node.step, steps.Rectifier)
            and node.step.function is torch.nn.functional.relu
            and isinstance(self.nodes[node.inputs[0]].step, fresh)
            and self.users(node.inputs[0]) == [number]
        )

    def _automatic(self) -> set[int]:
        """From each convolution on to its rectifier, or to the last node before maps are joined, pooled or convolved."""
        convolutions = [n for n, node in enumerate(self.nodes) if isinstance(node.step, steps.Convolution)]
        return {self._rectified(number) for number in convolutions}

    def _rectified(self, number: int) -> int:
        while True:
            users = self.users(number)
            rectifiers = [user for user in users if isinstance(self.nodes[user].step, steps.Rectifier)]
            passing = [u for u in users if isinstance(self.nodes[u].step, steps.BatchNorm | steps.Same | steps.Add)]
            if rectifiers:
                return rectifiers[0]
            if not passing:
                return number
            number = passing[0]


def _matches(layer: Layer, pattern: str) -> bool:
    return layer.auto if pattern == "auto" else fnmatchcase(layer.name, pattern)


def _hull(one: Cone, other: Cone) -> Cone:
    rows, columns = (Span(0, 0, 0) if a.step != b.step else a.hull(b) for a, b in zip(one, other, strict=True))
    return rows, columns


def check_geometry(network: Network) -> Network:
    """Return the network, or raise GraphError for one that has no convolution."""
    if not any(isinstance(node.step, steps.Convolution) for node in network.nodes):
        raise GraphError("the model has no convolution: there are no channels to look at")
    return network
