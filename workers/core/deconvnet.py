"""Carry a unit's activation down to pixels. Takes images and units of a layer, gives signed projections.

Zeiler & Fergus 2014, section 2.1: all other activations of the layer are set to zero; then down to the pixels *unpool*
through the switches of the forward pass, *rectify* the signal, *filter* with the transposed filters. Guided
backpropagation (Springenberg et al. 2015) masks with the forward sign as well; the gradient masks with it alone. All
three start from the unit's own activation.

The forward pass runs once, on each whole image. Downward a unit's signal lives on its cone: the positions of each map that
can change the unit. It starts as 1 x 1 and grows by each step's kernel, so that most of the work is done on small
windows; switches and masks are cut from the maps of the full image, hence nothing is approximated. Positions outside a
map are padding: a signal that lands there is dropped.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workers.core.channel_fields import Cone
from workers.core.network import Network
from workers.core.receptive_field import Box, Span
from workers.core.recording import Tape, Units
from workers.core.steps import Pair, Shape

Array = np.ndarray[Any, Any]

WINDOW_BYTES = {"cpu": 16 * 2**20, "cuda": 64 * 2**20}  # a CPU has caches; a GPU needs few, large kernels


def chunk_size(network: Network, number: int, device: str = "cpu") -> int:
    """How many units of a node to carry down at once, so that the largest window takes about WINDOW_BYTES."""
    cone = network.cone(number, clipped=True)
    largest = max(network.nodes[n].shape[0] * rows.size * columns.size for n, (rows, columns) in cone.items())
    return max(1, min(256, WINDOW_BYTES[device] // (4 * largest)))


def project(tape: Tape, number: int, units: Units, values: Tensor) -> tuple[Tensor, list[Box]]:
    """The projections of some units of one node.

    Args:
        tape: of the forward pass over their images.
        number: the node.
        units: some of its units.
        values: their activations.

    Returns:
        Signals (units, channels, height, width) in model-input scale, and the box of model-input pixels that each covers; it
        may leave the image, where the signal is 0.
    """
    with torch.inference_mode():
        way = _Way(tape, number, units, values)
        return way.run(), way.boxes()


def window(signal: Array, covers: Box, wanted: Box) -> Array:
    """A projection on the pixels of a box.

    Args:
        signal: (channels, height, width).
        covers: the box of the signal.
        wanted: the box that is wanted; outside `covers` the projection is 0.
    """
    placed = np.zeros((len(signal), wanted.height, wanted.width), signal.dtype)
    top, left = max(covers.top, wanted.top), max(covers.left, wanted.left)
    bottom, right = min(covers.bottom, wanted.bottom), min(covers.right, wanted.right)
    if top < bottom and left < right:
        part = signal[:, top - covers.top : bottom - covers.top, left - covers.left : right - covers.left]
        placed[:, top - wanted.top : bottom - wanted.top, left - wanted.left : right - wanted.left] = part
    return placed


class _Way:
    """The signals of some units on their way down, by node."""

    def __init__(self, tape: Tape, number: int, units: Units, values: Tensor) -> None:
        self.tape = tape
        self.units = units
        self.nodes = tape.network.nodes
        self.cone = tape.network.cone(number, clipped=True)
        self.signals: dict[int, Tensor] = {}
        self.number = number
        self.values = values

    def run(self) -> Tensor:
        """Carry the seeds from the node to the input: (units, channels, rows, columns) of the input's window."""
        self.signals[self.number] = self._seed()
        for upper in range(self.number, 0, -1):
            if upper in self.signals:
                self._descend(upper, self.signals.pop(upper))
        return self.signals[0]

    def boxes(self) -> list[Box]:
        """The model-input pixels that the windows cover."""
        rows, columns = self.cone[0]
        corners = zip(self.starts(rows, 0).tolist(), self.starts(columns, 1).tolist(), strict=True)
        return [Box(top, left, top + rows.size, left + columns.size) for top, left in corners]

    def _seed(self) -> Tensor:
        units, values = self.units, self.values
        rows, columns = self.cone[self.number]
        seed = values.new_zeros(len(units), self.nodes[self.number].shape[0], rows.size, columns.size)
        each = torch.arange(len(units), device=values.device)
        seed[each, units.channel, units.y - self.starts(rows, 0), units.x - self.starts(columns, 1)] = values
        return seed.contiguous(memory_format=torch.channels_last)

    def _descend(self, upper: int, signal: Tensor) -> None:
        node = self.nodes[upper]
        parts = node.step.down(signal, _Descent(self, upper))
        for which, (source, part) in enumerate(zip(node.inputs, parts, strict=False)):
            if not node.step.carries(which):
                continue
            placed = self.place(part, self._span_below(upper, which), self.cone[source])
            if node.step.spreads:
                placed = self._inside(source, placed)
            self.signals[source] = self.signals[source] + placed if source in self.signals else placed

    def _span_below(self, upper: int, which: int) -> Cone:
        step = self.nodes[upper].step
        if step.sees_whole(which) or step.fills:
            return self.cone[self.nodes[upper].inputs[which]]
        return step.below(self.cone[upper][0], 0), step.below(self.cone[upper][1], 1)

    def starts(self, span: Span, axis: int) -> Tensor:
        """The first position of each unit's span along an axis."""
        location = self.units.x if axis else self.units.y
        if span.period == 1:
            return location * span.step + span.start
        offsets = torch.tensor(span.offsets, device=location.device)
        return location // span.period * span.step + span.start + offsets[location % span.period]

    def positions(self, number: int, axis: int) -> Tensor:
        """The positions (units, size) of the windows of a node along an axis."""
        span = self.cone[number][axis]
        return self.starts(span, axis)[:, None] + torch.arange(span.size, device=self.units.y.device)

    def _inside(self, number: int, signal: Tensor) -> Tensor:
        """Drop what lies outside the map; the signal is written over."""
        for axis in (0, 1):
            positions = self.positions(number, axis)
            on_map = (positions >= 0) & (positions < self.nodes[number].shape[1 + axis])
            if not bool(on_map.all()):
                shape = (-1, 1, 1, on_map.shape[1]) if axis else (-1, 1, on_map.shape[1], 1)
                signal.mul_(on_map.view(shape))
        return signal

    def place(self, part: Tensor, at: Cone, target: Cone) -> Tensor:
        """Move a signal from the positions `at` to the window `target`; what does not fit in is dropped."""
        if at == target:
            return part
        extent = (target[0].size, target[1].size)
        if all((a.step, a.offsets) == (t.step, t.offsets) for a, t in zip(at, target, strict=True)):
            top, left = (a.start - t.start for a, t in zip(at, target, strict=True))
            return _shift(part, top, left, extent)
        tops, lefts = (
            self.starts(a, axis) - self.starts(t, axis) for axis, (a, t) in enumerate(zip(at, target, strict=True))
        )
        corners = enumerate(zip(tops.tolist(), lefts.tolist(), strict=True))
        return torch.cat([_shift(part[n : n + 1], top, left, extent) for n, (top, left) in corners])


class _Descent:
    """The way down through one node; see `steps.Descent`."""

    def __init__(self, way: _Way, number: int) -> None:
        self._way = way
        self._number = number
        self.method = way.tape.method
        self.above = way.nodes[number].shape
        self.below: list[Shape] = [way.nodes[source].shape for source in way.nodes[number].inputs]

    @property
    def kept(self) -> Tensor:
        return self._way.tape.kept[self._number]

    def window(self, map_: Tensor) -> Tensor:
        """Cut each unit's output positions from (images or 1, channels, rows or 1, columns or 1)."""
        rows, columns = (self.positions(axis).clamp(0, self.above[1 + axis] - 1) for axis in (0, 1))
        rows = rows if map_.shape[2] > 1 else torch.zeros_like(rows[:, :1])
        columns = columns if map_.shape[3] > 1 else torch.zeros_like(columns[:, :1])
        image = self._way.units.image if len(map_) > 1 else torch.zeros_like(self._way.units.image)
        by_place = map_.permute(0, 2, 3, 1)  # (images, rows, columns, channels)
        window = by_place[image[:, None, None], rows[:, :, None], columns[:, None, :]]
        return window.permute(0, 3, 1, 2)  # (units, channels, rows, columns)

    def whole(self, signal: Tensor) -> Tensor:
        return self._way.place(signal, self._way.cone[self._number], _whole(self.above))

    def positions(self, axis: int) -> Tensor:
        return self._way.positions(self._number, axis)

    def positions_below(self, axis: int) -> Tensor:
        return self._way.positions(self._way.nodes[self._number].inputs[0], axis)

    def aligned(self, signal: Tensor, factor: Pair, before: Pair, reach: Pair) -> Tensor:
        """The signal on output positions [i * factor - before, ... + reach) for all input positions i of the window."""
        below = self._way.cone[self._way.nodes[self._number].inputs[0]]
        target = tuple(span.through(f, b, r) for span, f, b, r in zip(below, factor, before, reach, strict=True))
        return self._way.place(signal, self._way.cone[self._number], (target[0], target[1]))


def _shift(part: Tensor, top: int, left: int, extent: tuple[int, int]) -> Tensor:
    """Lay (n, channels, h, w) with its corner at (top, left) of an empty map; the padding of F.pad may be negative."""
    height, width = part.shape[2:]
    if top >= extent[0] or left >= extent[1] or top + height <= 0 or left + width <= 0:
        return part.new_zeros(*part.shape[:2], *extent)
    edges = (left, extent[1] - left - width, top, extent[0] - top - height)
    return functional.pad(part, edges)


def _whole(shape: Shape) -> Cone:
    return Span(0, 0, shape[1]), Span(0, 0, shape[2])
