"""From operations to nodes. Takes the operations of a module one by one, gives the nodes of its graph.

Each operation has a rule that gives its step; see `rules`. One without a rule, or whose rule refuses its arguments, becomes
a step that only runs upward.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from workers.core import arrangement
from workers.core.arrangement import Arrangement
from workers.core.nodes import NO_MAP, Node
from workers.core.opaque import Argument, Opaque
from workers.core.operations import Batch, Operation, Result, Sizes, results
from workers.core.steps import Shape, Step
from workers.errors import GraphError, NoStepError

INPUT = 0  # number of the input's node
NO_STEP = " has no downward step"


@dataclass(frozen=True)
class Place:
    """Where the result of an operation is.

    Attributes:
        node: number of the node that computes it.
        layout: how the model sees the node's feature map; None if the node gives no feature map.
        expanded: sizes that the model repeats it to, without the batch; None if it does not.
    """

    node: int
    layout: Arrangement | None
    expanded: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Parts:
    """The results of an operation that splits a map.

    Attributes:
        operation: the split.
        dim: the dimension that is split, counted with the batch.
        bounds: start and stop of each part.
    """

    operation: Operation
    dim: int
    bounds: tuple[tuple[int, int], ...]


Location = Place | Parts


class Lowering:
    """The nodes so far, and the places of the results so far."""

    def __init__(self, rules: "Mapping[str, Rule]", dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.nodes: list[Node] = []
        self.places: list[Location] = []
        self._rules = rules
        self._sizes: list[Sizes | None] = []

    def take(self, operation: Operation) -> None:
        """Add the nodes of the next operation."""
        rule = self._rules.get(operation.target)
        try:
            place = rule(self, operation) if rule else self._opaque(operation, f"{operation.called}{NO_STEP}")
        except NoStepError as error:
            place = self._opaque(operation, f"{operation.called}{NO_STEP}: {error}")
        self.places.append(place)
        self._sizes.append(operation.sizes)

    def place(self, value: Any) -> Place:  # noqa: ANN401 - any argument
        """The place of a result.

        Raises:
            NoStepError: the value is not the result of one operation.
        """
        location = self.places[value.number] if isinstance(value, Result) else None
        if not isinstance(location, Place):
            raise NoStepError("it takes a constant, or several tensors, where one feature map is expected")
        return location

    def map_of(self, value: Any) -> tuple[Place, Arrangement]:  # noqa: ANN401 - any argument
        """The place of a feature map, and how the model sees it.

        Raises:
            NoStepError: the value is not a feature map.
        """
        place = self.place(value)
        if place.layout is None or place.expanded is not None:
            raise NoStepError("it takes a tensor that is not a feature map")
        return place, place.layout

    def plain_of(self, value: Any, *, adopt: bool = True) -> int:  # noqa: ANN401 - any argument
        """The node of a feature map that the model sees as (n, channels, height, width).

        Args:
            value: the result.
            adopt: whether the operation itself says that its input is one, as a convolution does.

        Raises:
            NoStepError: the value is not such a feature map.
        """
        place = self.place(value)
        if place.layout is None and place.expanded is None and adopt:
            return self._adopt(value, place)
        if place.expanded is not None or place.layout != arrangement.plain(self.shape(place.node)):
            raise NoStepError("the dimensions of its feature map are not (n, channels, height, width)")
        return place.node

    def shape(self, node: int) -> Shape:
        """(channels, height, width) of a node's feature map."""
        return self.nodes[node].shape

    def sizes(self, value: Result) -> Sizes | None:
        """The size of a result, with the batch; None if it is a list."""
        return self._sizes[value.number]

    def emit(
        self,
        operation: Operation,
        step: Step,
        inputs: Sequence[int],
        shape: Shape,
        layout: Arrangement | None = None,
    ) -> Place:
        """Add a node that gives a feature map.

        Args:
            operation: its operation, for the name.
            step: what it computes.
            inputs: numbers of its input nodes.
            shape: (channels, height, width) of its feature map.
            layout: how the model sees it; by default as it is.
        """
        self.nodes.append(Node(operation.name, step, tuple(inputs), shape))
        return Place(len(self.nodes) - 1, arrangement.plain(shape) if layout is None else layout)

    def _adopt(self, value: Result, place: Place) -> int:
        """Take a tensor of four dimensions for a feature map, as the operation that reads it does."""
        sizes = self._sizes[value.number]
        inner = [size for size in (sizes or ())[1:] if isinstance(size, int)]
        if sizes is None or len(sizes) != 4 or sizes[0] != Batch(1) or len(inner) != 3:
            raise NoStepError("it takes a tensor that is not a feature map")
        shape: Shape = (inner[0], inner[1], inner[2])
        self.nodes[place.node] = replace(self.nodes[place.node], shape=shape)
        self.places[value.number] = Place(place.node, arrangement.plain(shape))
        return place.node

    def _opaque(self, operation: Operation, reason: str) -> Place:
        sources = list(dict.fromkeys(results(operation.arguments)))
        places = [self._materialised(operation, source) for source in sources]
        packer = _Packer(sources)
        overload, given = _without_strides(operation)
        arguments = tuple((name, packer.pack(value)) for name, value in given.items())
        layouts = [place.layout for place in places]
        if packer.needs_input or not places:
            places.append(Place(INPUT, arrangement.plain(self.shape(INPUT))))
            layouts.append(places[-1].layout)
        layout, shape = self._output_layout(operation, places)
        tensors = tuple(packer.tensors)
        step = Opaque(overload, arguments, tuple(layouts), layout, shape, reason, tensors, kind=operation.target)
        self.nodes.append(Node(operation.name, step, tuple(place.node for place in places), shape or NO_MAP))
        return Place(len(self.nodes) - 1, layout)

    def _materialised(self, operation: Operation, source: Result) -> Place:
        """The place of an input, expanded as the model sees it."""
        location = self.places[source.number]
        if isinstance(location, Parts):
            self.places[source.number] = self._opaque(location.operation, f"{location.operation.called}{NO_STEP}")
        place = self.place(source)
        if place.expanded is None:
            return place
        arguments: tuple[tuple[str, Argument], ...] = (
            ("self", ("input", 0)),
            ("size", ("list", *(("value", size) for size in (-1, *place.expanded)))),
        )
        step = Opaque("expand.default", arguments, (place.layout,), None, None, "it is expanded", kind="expand")
        self.nodes.append(Node(f"{operation.name}.expand", step, (place.node,), NO_MAP))
        return Place(len(self.nodes) - 1, None)

    def _output_layout(self, operation: Operation, places: list[Place]) -> tuple[Arrangement | None, Shape | None]:
        """How the model sees the output, if that can be known: like an input of the same size."""
        sizes = operation.sizes
        if not operation.is_float or sizes is None or sizes[0:1] != (Batch(1),):
            return None, None
        if len(sizes) == 2 and isinstance(sizes[1], int):
            return arrangement.pooled(sizes[1]), (sizes[1], 1, 1)
        for place in places:
            if place.layout is None or len(place.layout) != 3 or arrangement.sizes(place.layout) != sizes[1:]:
                continue
            if arrangement.is_complete(place.layout, self.shape(place.node)):
                return place.layout, self.shape(place.node)
        return None, None


Rule = Callable[[Lowering, Operation], Location]


def _without_strides(operation: Operation) -> tuple[str, dict[str, Any]]:
    """An operation's full name and arguments; a view as a reshape, because our maps may have other strides."""
    if operation.target not in ("view", "_unsafe_view"):
        return operation.overload, operation.arguments
    return "reshape.default", {"self": operation.arguments["self"], "shape": operation.arguments["size"]}


class _Packer:
    """Turns an operation's arguments into plain values for `Opaque`."""

    def __init__(self, sources: list[Result]) -> None:
        self.sources = sources
        self.tensors: list[Tensor] = []
        self.needs_input = False

    def pack(self, value: Any) -> Argument:  # noqa: ANN401 - any argument
        """One argument."""
        if isinstance(value, Result):
            return ("input", self.sources.index(value))
        if isinstance(value, Tensor):
            self.tensors.append(value)
            return ("tensor", len(self.tensors) - 1)
        if isinstance(value, Batch):
            self.needs_input = True
            return ("batch", value.times, value.plus)
        if isinstance(value, list | tuple):
            return ("list", *(self.pack(each) for each in value))
        return self._pack_plain(value)

    def _pack_plain(self, value: Any) -> Argument:  # noqa: ANN401 - any argument
        if isinstance(value, torch.dtype):
            return ("dtype", str(value).removeprefix("torch."))
        if isinstance(value, torch.device):
            return ("device",)
        if value is None or isinstance(value, bool | int | float | str):
            return ("value", value)
        if isinstance(value, torch.memory_format | torch.layout):
            return ("value", None)
        raise GraphError(f"an operation takes {value!r}, which cannot be stored")
