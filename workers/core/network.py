"""Networks as lists of steps. Takes images, gives feature maps of any layer; computes receptive fields and cones."""

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
    """A node of the graph other than the input.

    Attributes:
        index: position in `Network.layers`.
        name: name of the node.
        kind: kind of operation.
        channels: number of channels of its map.
        height: number of rows of its map.
        width: number of columns of its map.
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
    """The nodes of a network in the order of execution; node 0 is the input, layer i is node i + 1."""

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
        """The layers that match names, globs or 'auto', in the order of the graph.

        Raises:
            UnknownLayerError: a pattern matches no layer.
        """
        selected: set[int] = set()
        for pattern in patterns:
            matching = {layer.index for layer in self.layers if _matches(layer, pattern)}
            if not matching:
                raise UnknownLayerError(pattern, [layer.name for layer in self.layers])
            selected |= matching
        return tuple(self.layers[index] for index in sorted(selected))

    def users(self, number: int) -> list[int]:
        """The nodes that read the output of a node."""
        return [user for user, node in enumerate(self.nodes) if number in node.inputs]

    def forward(self, images: Tensor, wanted: Collection[int], visit: Visit, *, overwrite: bool = False) -> None:
        """Run the network up to the last wanted node. Each map is dropped after its last reader.

        Args:
            images: (n, 3, height, width), model-input scale.
            wanted: numbers of the wanted nodes.
            visit: called for each wanted node, in order, with its number, inputs and output (n, channels, height, width).
            overwrite: let a ReLU overwrite its input; the arguments of `visit` are then only valid during the call.
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
        """The same network on another device or in another number format; convolutions are channels last in memory."""

        def move(value: Any) -> Any:  # noqa: ANN401 - any field of a step
            if not isinstance(value, Tensor):
                return value
            layout = torch.channels_last if value.dim() == 4 else torch.preserve_format
            return value.to(device=device, dtype=dtype, memory_format=layout)

        def move_step(step: steps.Step) -> steps.Step:
            fields = {name: move(value) for name, value in vars(step).items() if isinstance(value, Tensor)}
            return replace(step, **fields) if fields else step  # type: ignore[type-var]

        return Network(tuple(replace(node, step=move_step(node.step)) for node in self.nodes))

    def field(self, number: int) -> Field:
        """The nominal receptive field of a node's units: over all paths, as if maps had no borders."""
        rows, columns = self.cone(number)[0]
        return Field(rows, columns)

    def cone(self, number: int, *, clipped: bool = False) -> dict[int, Cone]:
        """The positions in every lower node (and the node itself) that can change a unit of the node.

        Args:
            number: the node.
            clipped: replace a span that is as large as the map by the whole map, for every unit.

        Returns:
            Spans of rows and columns by node number.
        """
        spans: dict[int, Cone] = {number: (Span(1, 0, 1), Span(1, 0, 1))}
        for upper in range(number, 0, -1):
            if upper not in spans:
                continue
            spans[upper] = self._limit(upper, spans[upper], clipped=clipped)
            for source in self.nodes[upper].inputs:
                below = self._below(upper, source, spans[upper])
                spans[source] = _hull(spans[source], below) if source in spans else below
        spans[0] = self._limit(0, spans[0], clipped=clipped)
        return spans

    def _below(self, upper: int, source: int, cone: Cone) -> Cone:
        step = self.nodes[upper].step
        if step.whole:
            return self._whole(source)
        return step.below(cone[0], 0), step.below(cone[1], 1)

    def _whole(self, number: int) -> Cone:
        _, height, width = self.nodes[number].shape
        return Span(0, 0, height), Span(0, 0, width)

    def _limit(self, number: int, cone: Cone, *, clipped: bool) -> Cone:
        """The cone, with the whole map for spans that are global or, if clipped, as large as the map."""
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
        """The ReLUs that may overwrite their input: they are its only reader, and it is not a view of another map."""
        owners = (steps.Convolution, steps.BatchNorm, steps.Add, steps.Concatenate)
        return frozenset(
            number
            for number, node in enumerate(self.nodes)
            if isinstance(node.step, steps.Rectifier)
            and node.step.function is torch.nn.functional.relu
            and isinstance(self.nodes[node.inputs[0]].step, owners)
            and self.users(node.inputs[0]) == [number]
        )

    def _automatic(self) -> set[int]:
        """For each convolution, its rectifier, or else the last node before maps are concatenated, pooled or convolved."""
        convolutions = [n for n, node in enumerate(self.nodes) if isinstance(node.step, steps.Convolution)]
        return {self._rectifier_of(number) for number in convolutions}

    def _rectifier_of(self, number: int) -> int:
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


def require_convolution(network: Network) -> Network:
    """Return the network.

    Raises:
        GraphError: it has no convolution.
    """
    if not any(isinstance(node.step, steps.Convolution) for node in network.nodes):
        raise GraphError("the model has no convolution, and so no channels")
    return network
