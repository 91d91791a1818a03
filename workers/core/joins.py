"""Operations on several maps. Takes feature maps (n, channels, height, width), gives one; see `steps`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.core.steps import Descent, Shape, Step
from workers.spec.parts import Method


@dataclass(frozen=True, eq=False)
class Add(Step):
    """The sum of two maps, the second one times a factor; downward, each gets the signal.

    Attributes:
        factor: factor of the second map; -1 in a difference.
        spread: for each map, whether it has one unit per channel that is added at every location.
    """

    factor: float = 1.0
    spread: tuple[bool, bool] = (False, False)
    kind = "add"
    by_channel = True

    @property
    def local(self) -> bool:  # type: ignore[override]
        """Whether a window can be computed from windows: not if one map has other locations."""
        return not any(self.spread)

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.add(
            inputs[0], inputs[1], alpha=int(self.factor) if self.factor == int(self.factor) else self.factor
        )

    def sees_whole(self, number: int) -> bool:
        return self.spread[number]

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        parts = (signal, signal if self.factor == 1 else signal * self.factor)
        return tuple(
            part.sum((2, 3), keepdim=True) if spread else part for part, spread in zip(parts, self.spread, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Concatenate(Step):
    """The concatenation of maps along the channels; downward, each input gets its own channels."""

    channels: tuple[int, ...]
    kind = "concatenate"

    def source_channels(self, number: int, channels: int) -> Sequence[int]:
        start, own = sum(self.channels[:number]), self.channels[number]
        return [channel - start if start <= channel < start + own else -1 for channel in range(channels)]

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=1)

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return torch.split(signal, list(self.channels), dim=1)


@dataclass(frozen=True, eq=False)
class GroupSum(Step):
    """The sum of groups of channels, location by location."""

    groups: int
    kind = "sum of groups"

    def forward(self, *inputs: Tensor) -> Tensor:
        images, channels, height, width = inputs[0].shape
        return inputs[0].reshape(images, self.groups, channels // self.groups, height, width).sum(1)

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return (signal.repeat(1, self.groups, 1, 1),)


@dataclass(frozen=True, eq=False)
class Gate(Step):
    """The product of a map and its gate, as in squeeze-and-excitation (Hu et al. 2018).

    Downward, the signal is multiplied by the gate, which is held constant: none of it goes into the path that computes the
    gate. That is the gradient with the gate held constant, not the whole gradient.

    Attributes:
        axes: for each dimension of the gate after the batch, its axis of the map; the model may keep channels last.
        divides: whether the map is divided by the gate.
        view: shape of the gate, if the model keeps its channels in groups.
    """

    axes: tuple[int, ...] = (0, 1, 2)
    divides: bool = False
    view: Shape | None = None
    kind = "gate"
    exact = False
    gated = True
    local = False
    by_channel = True

    def forward(self, *inputs: Tensor) -> Tensor:
        gate = self._on_map(inputs[1])
        return inputs[0] / gate if self.divides else inputs[0] * gate

    def carries(self, number: int) -> bool:
        return number == 0

    def keep(self, inputs: Sequence[Tensor], output: Tensor, method: Method) -> Tensor | None:
        return self._on_map(inputs[1])

    def kept_bytes(self, shape: Shape, method: Method) -> int:
        return 4 * shape[0] * shape[1] * shape[2]

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        gate = descent.window(descent.kept)
        return (signal / gate if self.divides else signal * gate,)

    def _on_map(self, gate: Tensor) -> Tensor:
        """The gate as (n, channels or 1, height or 1, width or 1)."""
        if self.view is not None:
            return gate.reshape(-1, *self.view)
        if self.axes == (0, 1, 2):
            return gate
        whole = gate.reshape(*gate.shape, *(1,) * (3 - len(self.axes)))
        missing = [axis for axis in range(3) if axis not in self.axes]
        axes = (*self.axes, *missing)
        return whole.permute(0, *(axes.index(axis) + 1 for axis in range(3)))
