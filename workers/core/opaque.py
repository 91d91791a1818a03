"""Operations that have no downward step. Takes tensors of any shape, gives what torch's operation gives; see `steps`."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workers.core import arrangement
from workers.core.arrangement import Arrangement
from workers.core.steps import Shape, Step

# What an operation's arguments may hold, by its first word: ("input", i), ("tensor", i), ("batch", times, plus),
# ("dtype", name), ("device",), ("list", ...), or ("value", a plain value).
Argument = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Opaque(Step):
    """An operation of torch that only runs upward.

    Attributes:
        operation: full name of the operation, such as `softmax.int`.
        arguments: its arguments by name.
        layouts: for each input, the arrangement that the model sees; None if the input is not a feature map.
        layout: the arrangement of the output; None if it is not a feature map.
        shape: (channels, height, width) of the output, if it is a feature map.
        reason: why it has no downward step.
        tensors: constants among its arguments.
    """

    operation: str
    arguments: tuple[tuple[str, Argument], ...]
    layouts: tuple[Arrangement | None, ...]
    layout: Arrangement | None
    shape: Shape | None
    reason: str
    tensors: tuple[Tensor, ...] = ()
    kind: str = "other"  # type: ignore[misc]
    whole = True
    local = False
    exact = False

    @property
    def obstacle(self) -> str:  # type: ignore[override]
        """Why a signal cannot be carried down through it."""
        return self.reason

    def forward(self, *inputs: Tensor) -> Tensor:
        seen = [
            value if layout is None else arrangement.arrange(value, layout)
            for value, layout in zip(inputs, self.layouts, strict=True)
        ]
        arguments = {name: self._argument(argument, seen) for name, argument in self.arguments}
        result: Tensor = _function(self.operation)(**arguments)
        if self.layout is None or self.shape is None:
            return result
        return arrangement.restore(result, self.layout, self.shape)

    def _argument(self, argument: Argument, seen: list[Tensor]) -> Any:  # noqa: ANN401 - any argument of torch
        kind, *values = argument
        if kind == "input":
            return seen[values[0]]
        if kind == "tensor":
            return self.tensors[values[0]]
        if kind == "batch":
            return len(seen[-1]) * values[0] + values[1]
        if kind == "dtype":
            return getattr(torch, values[0])
        if kind == "device":
            return seen[-1].device
        return [self._argument(each, seen) for each in values] if kind == "list" else values[0]


def _function(operation: str) -> Callable[..., Any]:
    """An operation of torch by name. Only torch's own operations on tensors can be named."""
    if operation == "getitem":
        return lambda self, index: operator.getitem(self, index)
    name, _, overload = operation.partition(".")
    function: Callable[..., Any] = getattr(getattr(torch.ops.aten, name), overload)
    return function
