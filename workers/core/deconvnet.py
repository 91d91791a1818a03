"""Carry a unit's activation down to pixels. Takes images and units of a layer, gives signed projections.

Zeiler & Fergus 2014, section 2.1: all other activations of the layer are set to zero; then down to the pixels *unpool*
through the switches of the forward pass, *rectify* the signal, *filter* with the transposed filters. Guided
backpropagation (Springenberg et al. 2015) masks with the forward sign as well; the gradient masks with it alone. All
three start from the unit's own activation.

The forward pass runs once, on whole images. Downward a unit's signal lives on its cone: the positions of each map that
can change the unit. It starts as 1 x 1 and grows by each step's kernel, so that most of the work is done on small
windows; switches and masks are cut from the maps of the full image, hence nothing is approximated. Positions outside a
map are padding: a signal that lands there is dropped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from workers.core import pooling, steps
from workers.core.network import Cone, Network
from workers.core.receptive_field import Box, Span
from workers.spec.parts import Method

WINDOW_BYTES = 64 * 2**20
TAPE_BYTES = 512 * 2**20
_SPREADING = (steps.Convolution, pooling.Pool)  # the steps that can carry a signal past the end of a map
_DERIVED = (steps.Rectifier, steps.LocalResponseNorm)


@dataclass(frozen=True)
class Units:
    """Some units of one layer, as int64 tensors of equal length.

    Attributes:
        image: position of the image in the batch.
        channel: channel of the unit.
        y: row of the unit.
        x: column of the unit.
    """

    image: Tensor
    channel: Tensor
    y: Tensor
    x: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def part(self, which: slice) -> "Units":
        """Some of the units."""
        return Units(self.image[which], self.channel[which], self.y[which], self.x[which])


@dataclass(frozen=True, eq=False)
class Tape:
    """What a forward pass leaves for the way down.

    Attributes:
        network: the network that ran.
        method: what is kept follows from it.
        switches: by number of a max pooling, uint8 (images, channels, rows, columns).
        inputs: by number of a rectifier or normalisation whose derivative is needed, its input.
        values: by number of a wanted node, the activations of its units.
    """

    network: Network
    method: Method
    switches: dict[int, Tensor] = field(default_factory=dict)
    inputs: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)


def record(network: Network, images: Tensor, wanted: Mapping[int, Units], method: Method) -> Tape:
    """Run the network once and keep what the way down from the wanted units needs.

    Args:
        network: the network.
        images: (n, 3, height, width), model-input scale.
        wanted: the units that will be projected, by number of their node.
        method: how they will be.
    """
    tape = Tape(network, method)
    below = {number for top in wanted for number in network.cone(top)}

    def visit(number: int, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        step = network.nodes[number].step
        if number in wanted:
            units = wanted[number]
            tape.values[number] = output[units.image, units.channel, units.y, units.x]
        if isinstance(step, pooling.MaxPool):
            tape.switches[number] = step.switches(inputs[0], network.nodes[number].shape[1:])
        if method is not Method.DECONVNET and isinstance(step, _DERIVED):
            tape.inputs[number] = inputs[0]

    with torch.inference_mode():
        network.forward(images, below, visit)
    return tape


def exact(network: Network, number: int) -> bool:
    """Whether every node on the way down has a downward step in the paper."""
    return all(network.nodes[below].step.exact for below in network.cone(number))


def chunk_size(network: Network, number: int) -> int:
    """How many units of a node to carry down at once, so that the largest window takes about 64 MiB."""
    cone = network.cone(number, clipped=True)
    largest = max(network.nodes[n].shape[0] * rows.size * columns.size for n, (rows, columns) in cone.items())
    return max(1, min(256, WINDOW_BYTES // (4 * largest)))


def images_at_once(network: Network, wanted: Iterable[int], method: Method) -> int:
    """How many images to run together, so that a tape takes about 512 MiB: a function of the network alone."""
    below = {number for top in wanted for number in network.cone(top)}
    size = 0
    for number in below:
        channels, height, width = network.nodes[number].shape
        step = network.nodes[number].step
        kept = isinstance(step, pooling.MaxPool) + 4 * (method is not Method.DECONVNET and isinstance(step, _DERIVED))
        size += kept * channels * height * width
    return max(1, min(32, TAPE_BYTES // max(size, 1)))


def project(tape: Tape, number: int, units: Units, values: Tensor) -> tuple[Tensor, list[Box]]:
    """The projections of some units of one node.

    Args:
        tape: of the forward pass over their images.
        number: the node.
        units: some of its units.
        values: their activations.

    Returns:
        Signals (units, 3, height, width) in model-input scale, and the box of model-input pixels that each covers; it
        may leave the image, where the signal is 0.
    """
    with torch.inference_mode():
        descent = _Descent(tape, number, units, values)
        return descent.run(), descent.boxes()


class _Descent:
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
        """Carry the seeds from the node to the input: (units, 3, rows, columns) of the input's window."""
        self.signals[self.number] = self._seed()
        for upper in range(self.number, 0, -1):
            if upper in self.signals:
                self._descend(upper, self.signals.pop(upper))
        return self.signals[0]

    def boxes(self) -> list[Box]:
        """The model-input pixels that the windows cover."""
        rows, columns = self.cone[0]
        corners = zip(self._starts(rows, 0).tolist(), self._starts(columns, 1).tolist(), strict=True)
        return [Box(top, left, top + rows.size, left + columns.size) for top, left in corners]

    def _seed(self) -> Tensor:
        units, values = self.units, self.values
        rows, columns = self.cone[self.number]
        seed = values.new_zeros(len(units), self.nodes[self.number].shape[0], rows.size, columns.size)
        each = torch.arange(len(units), device=values.device)
        seed[each, units.channel, units.y - self._starts(rows, 0), units.x - self._starts(columns, 1)] = values
        return seed.contiguous(memory_format=torch.channels_last)

    def _descend(self, upper: int, signal: Tensor) -> None:
        node = self.nodes[upper]
        below = self._below(upper, signal)
        for source, part in zip(node.inputs, below, strict=True):
            span = self._span_below(upper, source)
            placed = self._place(part, span, self.cone[source])
            if isinstance(node.step, _SPREADING):
                placed = self._inside(source, placed)
            self.signals[source] = self.signals[source] + placed if source in self.signals else placed

    def _span_below(self, upper: int, source: int) -> Cone:
        step = self.nodes[upper].step
        if isinstance(step, steps.Whole):
            return self.cone[source]
        return step.below(self.cone[upper][0], 0), step.below(self.cone[upper][1], 1)

    def _below(self, upper: int, signal: Tensor) -> tuple[Tensor, ...]:
        step = self.nodes[upper].step
        if isinstance(step, steps.Rectifier):
            return (self._rectify(upper, step, signal),)
        if isinstance(step, steps.LocalResponseNorm) and self.tape.method is Method.GRADIENT:
            return (_derivative(step, self._window(self.tape.inputs[upper], upper), signal),)
        if isinstance(step, pooling.MaxPool):
            return (step.unpool(signal, self._window(self.tape.switches[upper], upper)),)
        if isinstance(step, pooling.AveragePool):
            return (step.spread(signal / self._divisors(upper, step).to(signal), None),)
        if isinstance(step, steps.Whole):
            whole = self._place(signal, self.cone[upper], _whole(self.nodes[upper].shape))
            return (step.down_whole(whole, self.nodes[self.nodes[upper].inputs[0]].shape),)
        return step.down(signal)

    def _rectify(self, upper: int, step: steps.Rectifier, signal: Tensor) -> Tensor:
        method = self.tape.method
        if method is not Method.GRADIENT:
            signal = functional.relu(signal)
        if method is Method.DECONVNET:
            return signal
        return _derivative(step, self._window(self.tape.inputs[upper], upper), signal)

    def _divisors(self, upper: int, step: pooling.AveragePool) -> Tensor:
        _, *below = self.nodes[self.nodes[upper].inputs[0]].shape
        divisors = step.divisors((below[0], below[1]), self.nodes[upper].shape[1:])
        everywhere = divisors.expand(int(self.units.image.max()) + 1, 1, -1, -1).to(self.units.image.device)
        return self._window(everywhere, upper)

    def _starts(self, span: Span, axis: int) -> Tensor:
        location = self.units.x if axis else self.units.y
        return location * span.step + span.start

    def _positions(self, number: int, axis: int) -> tuple[Tensor, Tensor]:
        """Positions (units, size) of the windows along an axis, and which of them lie on the map."""
        span = self.cone[number][axis]
        extent = self.nodes[number].shape[1 + axis]
        steps_ = torch.arange(span.size, device=self.units.y.device)
        positions = self._starts(span, axis)[:, None] + steps_
        return positions, (positions >= 0) & (positions < extent)

    def _inside(self, number: int, signal: Tensor) -> Tensor:
        """Drop what lies outside the map; the signal is written over."""
        for axis in (0, 1):
            _, on_map = self._positions(number, axis)
            if not bool(on_map.all()):
                shape = (-1, 1, 1, on_map.shape[1]) if axis else (-1, 1, on_map.shape[1], 1)
                signal.mul_(on_map.view(shape))
        return signal

    def _window(self, map_: Tensor, number: int) -> Tensor:
        """Cut each unit's window of a node's output positions from (images, channels, rows, columns)."""
        _, height, width = self.nodes[number].shape
        rows = self._positions(number, 0)[0].clamp(0, height - 1)
        columns = self._positions(number, 1)[0].clamp(0, width - 1)
        by_place = map_.permute(0, 2, 3, 1)  # (images, rows, columns, channels)
        window = by_place[self.units.image[:, None, None], rows[:, :, None], columns[:, None, :]]
        return window.permute(0, 3, 1, 2)  # (units, channels, rows, columns)

    def _place(self, part: Tensor, at: Cone, target: Cone) -> Tensor:
        """Move a signal from the positions `at` to the window `target`; what does not fit in is dropped."""
        if at == target:
            return part
        if all(a.step == t.step for a, t in zip(at, target, strict=True)):
            top, left = (a.start - t.start for a, t in zip(at, target, strict=True))
            return _shift(part, top, left, (target[0].size, target[1].size))
        tops, lefts = (
            self._starts(a, axis) - self._starts(t, axis) for axis, (a, t) in enumerate(zip(at, target, strict=True))
        )
        moved = [
            _shift(part[n : n + 1], top, left, (target[0].size, target[1].size))
            for n, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True))
        ]
        return torch.cat(moved)


def _shift(part: Tensor, top: int, left: int, extent: tuple[int, int]) -> Tensor:
    """Lay (n, channels, h, w) with its corner at (top, left) of an empty map; the padding of F.pad may be negative."""
    height, width = part.shape[2:]
    edges = (left, extent[1] - left - width, top, extent[0] - top - height)
    return functional.pad(part, edges)


def _whole(shape: tuple[int, int, int]) -> Cone:
    return Span(0, 0, shape[1]), Span(0, 0, shape[2])


def _derivative(step: steps.Step, inputs: Tensor, signal: Tensor) -> Tensor:
    """The signal times the derivative of a step at these inputs."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = inputs.clone().requires_grad_()
        result: Tensor = torch.autograd.grad(step.forward(leaf), leaf, signal.clone())[0]
    return result
