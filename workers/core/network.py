"""Networks as lists of steps. Takes images, gives feature maps of any layer; computes receptive fields and cones."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from workers.core import joins, rectifiers, steps
from workers.core.automatic import automatic, is_convolution
from workers.core.channel_fields import ONE, ChannelFields, Cone, fields_above, hull
from workers.core.nodes import Node
from workers.core.opaque import Opaque
from workers.core.receptive_field import Field, Span
from workers.errors import GraphError, UnknownLayerError

Visit = Callable[[int, tuple[Tensor, ...], Tensor], None]


@dataclass(frozen=True)
class Layer:
    """A node of the graph other than the input.

    Attributes:
        index: position in `Network.layers`.
        node: position of its node in `Network.nodes`.
        name: name of the node.
        kind: kind of operation.
        channels: number of channels of its map.
        height: number of rows of its map.
        width: number of columns of its map.
        fields: receptive fields of its channels.
        auto: whether `auto` selects it.
        gated: whether the signal of its units is multiplied by numbers that follow from the image and are held constant.
        obstacle: why its units have no projections; empty if they have.
    """

    index: int
    node: int
    name: str
    kind: str
    channels: int
    height: int
    width: int
    fields: ChannelFields
    auto: bool
    gated: bool = False
    obstacle: str = ""

    @property
    def field(self) -> Field:
        """The smallest field that contains the receptive fields of all channels."""
        return self.fields.hull


@dataclass(frozen=True)
class _Path:
    """What lies on the ways down from a node: its fields, whether a gate or a step of our own, and the lowest obstacle."""

    fields: ChannelFields
    gated: bool
    exact: bool
    obstacle: str


@dataclass(frozen=True, eq=False)
class Network:
    """The nodes of a network in the order of execution; node 0 is the input. The layers are the nodes with feature maps."""

    nodes: tuple[Node, ...]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All layers in the order of the graph."""
        numbers = [number for number, node in enumerate(self.nodes) if number and node.is_map]
        return tuple(self._layer(index, number) for index, number in enumerate(numbers))

    @cached_property
    def output(self) -> int:
        """The node that gives the model's output, or the first of several."""
        return next((number for number, node in enumerate(self.nodes) if node.is_output), len(self.nodes) - 1)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """The probabilities of classes, (n, classes), from the network's outputs of the same shape. It may end in a softmax."""
        step = self.nodes[self.output].step
        return outputs if isinstance(step, Opaque) and step.operation.startswith("softmax") else outputs.softmax(1)

    def _layer(self, index: int, number: int) -> Layer:
        node, path = self.nodes[number], self._paths[number]
        return Layer(
            index,
            number,
            node.name,
            node.step.kind,
            *node.shape,
            path.fields,
            number in self._automatic,
            path.gated,
            path.obstacle,
        )

    @cached_property
    def _paths(self) -> tuple[_Path, ...]:
        """What lies on the ways down from each node, from the input upward."""
        paths: list[_Path] = []
        for number, node in enumerate(self.nodes):
            below = [paths[source] for which, source in enumerate(node.inputs) if node.step.carries(which)]
            obstacles = [path.obstacle for path in below if path.obstacle]
            own = f"{node.name}: {node.step.obstacle}" if node.step.obstacle else ""
            gated = node.step.gated or any(path.gated for path in below)
            exact = node.step.exact and all(path.exact for path in below)
            paths.append(_Path(self._fields_over(number, paths), gated, exact, obstacles[0] if obstacles else own))
        return tuple(paths)

    def _fields_over(self, number: int, paths: list[_Path]) -> ChannelFields:
        """The receptive fields of a node's channels, from those of its inputs."""
        node = self.nodes[number]
        if not number:
            return ChannelFields.alike(Field(ONE, ONE), node.shape[0])
        below = [paths[source].fields for source in node.inputs]
        return fields_above(node.step, node.shape[0], below, self._whole(0), lambda: self.cone(number)[0])

    @cached_property
    def weight_bytes(self) -> int:
        """The size of all constants of the graph."""
        values = [value for node in self.nodes for value in vars(node.step).values()]
        each = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
        return sum(part.nbytes for part in each if isinstance(part, Tensor))

    @cached_property
    def _automatic(self) -> frozenset[int]:
        return automatic(self.nodes)

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

    def multiplications(self, last: int) -> int:
        """The number of multiplications of convolutions up to a node, for one image."""
        weights = [(node, getattr(node.step, "weight", None)) for node in self.nodes[: last + 1]]
        return sum(
            weight.numel() * node.shape[1] * node.shape[2]
            for node, weight in weights
            if weight is not None and is_convolution(node)
        )

    def users(self, number: int) -> list[int]:
        """The nodes that read the output of a node."""
        return [user for user, node in enumerate(self.nodes) if number in node.inputs]

    def forward(
        self, images: Tensor, wanted: Collection[int], visit: Visit, *, overwrite: bool = False, start: int = 0
    ) -> None:
        """Run the network up to the last wanted node. Each map is dropped after its last reader.

        Args:
            images: (n, channels, height, width), model-input scale.
            wanted: numbers of the wanted nodes, none before `start`.
            visit: called for each wanted node, in order, with its number, inputs and output (n, channels, height, width).
            overwrite: let a ReLU overwrite its input; the arguments of `visit` are then only valid during the call.
            start: number of the node whose map `images` holds. The nodes after it read nothing from before it.
        """
        last = max(wanted)
        values: dict[int, Tensor] = {start: images}
        if start in wanted:
            visit(start, (), images)
        for number, node in enumerate(self.nodes[start + 1 : last + 1], start + 1):
            inputs = tuple(values[i] for i in node.inputs)
            if overwrite and number in self._overwriting:
                values[number] = torch.relu_(inputs[0])
            else:
                values[number] = node.step.forward(*inputs)
            if number in wanted:
                visit(number, inputs, values[number])
            for i in node.inputs:
                if self._last_reader[i] == number:
                    values.pop(i, None)

    def to(self, *, device: str | None = None, dtype: torch.dtype | None = None) -> "Network":
        """The same network on another device or in another floating-point format; convolutions are channels last in memory."""

        def move(value: Any) -> Any:  # noqa: ANN401 - any field of a step
            if isinstance(value, tuple):
                return tuple(move(each) for each in value)
            if not isinstance(value, Tensor):
                return value
            layout = torch.channels_last if value.dim() == 4 else torch.preserve_format
            return value.to(device=device, dtype=dtype if value.is_floating_point() else None, memory_format=layout)

        def move_step(step: steps.Step) -> steps.Step:
            return replace(step, **{name: move(value) for name, value in vars(step).items()})  # type: ignore[type-var]

        return Network(tuple(replace(node, step=move_step(node.step)) for node in self.nodes))

    def field(self, number: int) -> Field:
        """The nominal receptive field of a node's units: over all paths and channels, as if maps had no borders."""
        return self._paths[number].fields.hull

    def exact(self, number: int) -> bool:
        """Whether every node on the way down has a downward step in the paper."""
        return self._paths[number].exact

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
            for which, source in enumerate(self.nodes[upper].inputs):
                if not self.nodes[upper].step.carries(which):
                    continue
                below = self._below(upper, which, spans[upper])
                spans[source] = hull(spans[source], below) if source in spans else below
        spans[0] = self._limit(0, spans[0], clipped=clipped)
        return spans

    def _below(self, upper: int, which: int, cone: Cone) -> Cone:
        step = self.nodes[upper].step
        if step.sees_whole(which):
            return self._whole(self.nodes[upper].inputs[which])
        return step.below(cone[0], 0), step.below(cone[1], 1)

    def _whole(self, number: int) -> Cone:
        _, height, width = self.nodes[number].shape
        return Span(0, 0, max(height, 1)), Span(0, 0, max(width, 1))

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
        return frozenset(
            number
            for number, node in enumerate(self.nodes)
            if isinstance(node.step, rectifiers.Rectifier) and node.step.name == "relu" and self._owns_input(number)
        )

    def _owns_input(self, number: int) -> bool:
        """Whether a node is the only reader of its input, which is not a view of another map that is still needed."""
        below = self.nodes[number].inputs[0]
        if self.users(below) != [number]:
            return False
        step = self.nodes[below].step
        owners = (steps.Convolution, steps.BatchNorm, joins.Add, joins.Concatenate)
        return isinstance(step, owners) or (isinstance(step, steps.Same) and self._owns_input(below))


def _matches(layer: Layer, pattern: str) -> bool:
    return layer.auto if pattern == "auto" else fnmatchcase(layer.name, pattern)


def require_convolution(network: Network) -> Network:
    """Return the network.

    Raises:
        GraphError: it has no convolution.
    """
    if not any(is_convolution(node) for node in network.nodes):
        raise GraphError("the model has no convolution, and so no channels")
    return network
