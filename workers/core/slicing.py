"""Parts of maps, and maps with a border. Takes feature maps (n, channels, height, width), gives feature maps; see `steps`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workers.core.receptive_field import Span
from workers.core.steps import Descent, Pair, Step


@dataclass(frozen=True, eq=False)
class Channels(Step):
    """Every `step`-th channel from `start` to before `stop`, of `of`."""

    start: int
    stop: int
    step: int
    of: int
    kind = "channels"

    def source_channels(self, number: int, channels: int) -> Sequence[int]:
        return range(self.of)[self.start : self.stop : self.step]

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0][:, self.start : self.stop : self.step]

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        below = signal.new_zeros(len(signal), self.of, *signal.shape[2:])
        below[:, self.start : self.stop : self.step] = signal
        return (below,)


@dataclass(frozen=True, eq=False)
class Shuffle(Step):
    """The channels in another order: channel i of the output is channel `order[i]` of the input."""

    order: tuple[int, ...]
    kind = "channel shuffle"

    def source_channels(self, number: int, channels: int) -> Sequence[int]:
        return self.order

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0][:, torch.tensor(self.order, device=inputs[0].device)]

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return (signal[:, torch.tensor(self.order, device=signal.device).argsort()],)


@dataclass(frozen=True, eq=False)
class Slice(Step):
    """Every `step`-th row or column from `start` to before `stop`.

    Attributes:
        start: first row and first column.
        stop: row after the last, and column after the last.
        step: distance between rows, and between columns.
    """

    start: Pair
    stop: Pair
    step: Pair
    kind = "slice"
    spreads = True
    by_channel = True

    def forward(self, *inputs: Tensor) -> Tensor:
        rows, columns = (slice(*bounds) for bounds in zip(self.start, self.stop, self.step, strict=True))
        return inputs[0][:, :, rows, columns]

    def reach(self, axis: int) -> tuple[int, int, int]:
        return self.step[axis], -self.start[axis], 1

    def window(self, *inputs: Tensor) -> Tensor:
        return inputs[0][:, :, :: self.step[0], :: self.step[1]]

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        height, width = ((size - 1) * step + 1 for size, step in zip(signal.shape[2:], self.step, strict=True))
        below = signal.new_zeros(*signal.shape[:2], height, width)
        below[:, :, :: self.step[0], :: self.step[1]] = signal
        return (below,)


@dataclass(frozen=True, eq=False)
class Pad(Step):
    """A border of a constant value, or a crop where a width is negative. Channels can be added too.

    Attributes:
        rows: number of rows before and after the map.
        columns: number of columns before and after the map.
        channels: number of channels before and after the map's.
        value: value of the border.
    """

    rows: Pair
    columns: Pair
    channels: Pair = (0, 0)
    value: float = 0.0
    kind = "padding"
    spreads = True

    @property
    def local(self) -> bool:  # type: ignore[override]
        """Whether a window can be computed from a window: outside the map, that has 0."""
        return self.value == 0

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.pad(inputs[0], (*self.columns, *self.rows, *self.channels), value=self.value)

    def source_channels(self, number: int, channels: int) -> Sequence[int]:
        before, after = self.channels
        kept = channels - before - after
        return [channel - before if 0 <= channel - before < kept else -1 for channel in range(channels)]

    def reach(self, axis: int) -> tuple[int, int, int]:
        return 1, (self.rows, self.columns)[axis][0], 1

    def window(self, *inputs: Tensor) -> Tensor:
        return functional.pad(inputs[0], (0, 0, 0, 0, *self.channels))

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        before, after = self.channels
        return (functional.pad(signal, (0, 0, 0, 0, -before, -after)),)


@dataclass(frozen=True, eq=False)
class MirrorPad(Step):
    """A border that repeats the map: mirrored at its edge (`reflect`), or its edge itself (`replicate`)."""

    rows: Pair
    columns: Pair
    mode: str
    kind = "padding"
    fills = True
    exact = False
    local = False
    by_channel = True

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.pad(inputs[0], (*self.columns, *self.rows), self.mode)

    def below(self, span: Span, axis: int) -> Span:
        """The positions that a span sees, and those that the border repeats, for every unit alike."""
        before, after = (self.rows, self.columns)[axis]
        return span.through(1, before, 1).wider(2 * max(after, 0), 2 * max(before, 0))

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return (carry(signal, descent, [self.shares(axis, descent.below[0][1 + axis]) for axis in (0, 1)]),)

    def shares(self, axis: int, below: int) -> Tensor:
        """The share of each input in each output along one axis, (outputs, inputs)."""
        line = functional.pad(torch.eye(below)[:, None], (self.rows, self.columns)[axis], self.mode)
        return line[:, 0].T


def carry(signal: Tensor, descent: Descent, shares: list[Tensor]) -> Tensor:
    """Carry a signal down through an operation that mixes rows and columns by constant shares.

    Args:
        signal: on the units' windows of the output.
        descent: the windows.
        shares: for rows and for columns, the share of each input in each output, (outputs, inputs).
    """
    parts = [_window_shares(shares[axis].to(signal), descent, axis) for axis in (0, 1)]
    return torch.einsum("nchw,nhi,nwj->ncij", signal, *parts)


def _window_shares(shares: Tensor, descent: Descent, axis: int) -> Tensor:
    """The shares of each unit's windows, (units, outputs, inputs); 0 where a position lies outside its map."""
    above, below = descent.positions(axis), descent.positions_below(axis)
    padded = functional.pad(shares, (0, 1, 0, 1))  # the last row and column hold the zeros
    rows = torch.where((above >= 0) & (above < shares.shape[0]), above, shares.shape[0])
    columns = torch.where((below >= 0) & (below < shares.shape[1]), below, shares.shape[1])
    return padded[rows[:, :, None], columns[:, None, :]]
