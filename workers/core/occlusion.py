"""Occlusion maps. Takes an image and the positions of a square, gives a layer's activation and class probabilities by position.

Zeiler & Fergus 2014, section 4.2 and Figure 7. A square changes a rectangle of the input. After each operation the changed
rectangle has grown by the receptive field of one output. We keep all maps of the unoccluded image, compute only the changed
rectangle again, layer by layer, and insert it, until it is so large that computing the whole map is cheaper (as Krypton does;
Nakandala, Kumar, Papakonstantinou, SIGMOD 2019). The result is exact.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from workers.core import steps
from workers.core.network import Network
from workers.core.rectifiers import Pointwise
from workers.core.steps import Step

WHOLE_SHARE = 0.8  # share of a map above which computing the whole map is cheaper
CHUNK_BYTES = 256 * 2**20
LARGEST_CHUNK = 64


@dataclass(frozen=True)
class Squares:
    """The positions of the square: top-left corners at 0, stride, 2 stride, ... as long as the square is inside the image.

    Attributes:
        size: side of the square, pixels.
        stride: distance between neighbouring positions, pixels.
        height: height of the image, pixels.
        width: width of the image, pixels.
    """

    size: int
    stride: int
    height: int
    width: int

    @property
    def rows(self) -> int:
        """The number of positions from top to bottom."""
        return (self.height - self.size) // self.stride + 1

    @property
    def columns(self) -> int:
        """The number of positions from left to right."""
        return (self.width - self.size) // self.stride + 1

    def corners(self) -> tuple[Tensor, Tensor]:
        """The tops and lefts of all positions, row-major, int64 (rows * columns,)."""
        tops, lefts = torch.arange(self.rows) * self.stride, torch.arange(self.columns) * self.stride
        return tops.repeat_interleave(self.columns), lefts.repeat(self.rows)


@dataclass(frozen=True, eq=False)
class OcclusionMaps:
    """The occlusion maps of one image, and its values without occlusion.

    Attributes:
        channel: the layer's channel with the largest activation in the unoccluded image.
        total: sum of that channel's map, unoccluded.
        probabilities: probabilities of all classes, unoccluded, (classes,).
        target: the class that `probability` belongs to.
        activation: sum of the channel's map by position, float64 (rows, columns).
        probability: probability of the target by position, (rows, columns).
        best: most probable class by position, int64 (rows, columns).
    """

    channel: int
    total: float
    probabilities: Tensor
    target: int
    activation: Tensor
    probability: Tensor
    best: Tensor


def occlude(
    network: Network, image: Tensor, number: int, squares: Squares, fill: Tensor, target: int | None = None
) -> OcclusionMaps:
    """Slide a square over one image.

    Args:
        network: its last node gives one score per class.
        image: (1, colours, height, width), model-input scale.
        number: node whose feature map is measured.
        squares: positions of the square.
        fill: content of the square, (colours, height, width) or broadcast to that, model-input scale.
        target: a class; None for the most probable one.
    """
    with torch.inference_mode():
        sweep = _Sweep(network, image, number, squares, fill)
        unoccluded = network.probabilities(sweep.maps[network.output].flatten(1))[0]
        measured = int(unoccluded.argmax()) if target is None else target
        totals, scores = sweep.run()
        probabilities = network.probabilities(scores)
    extent = squares.rows, squares.columns
    return OcclusionMaps(
        channel=sweep.channel,
        total=float(sweep.maps[number][0, sweep.channel].double().sum()),
        probabilities=unoccluded,
        target=measured,
        activation=totals.view(extent),
        probability=probabilities[:, measured].view(extent),
        best=probabilities.argmax(1).view(extent),
    )


@dataclass(frozen=True, eq=False)
class _Window:
    """The changed rectangles of a map, one per position of the square.

    Attributes:
        values: (positions, channels, height, width).
        tops: first row of each rectangle in the map, (positions,).
        lefts: first column of each rectangle in the map, (positions,).
    """

    values: Tensor
    tops: Tensor
    lefts: Tensor

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width of the rectangles."""
        return self.values.shape[2], self.values.shape[3]


class _Sweep:
    """One image and all positions of the square."""

    def __init__(self, network: Network, image: Tensor, number: int, squares: Squares, fill: Tensor) -> None:
        self.network = network
        self.number = number
        self.squares = squares
        self.fill = fill.expand(image.shape[1:])
        self.maps: dict[int, Tensor] = {0: image}

        def keep(node: int, _: tuple[Tensor, ...], map_: Tensor) -> None:
            self.maps[node] = map_

        network.forward(image, range(1, len(network.nodes)), keep)
        self.channel = int(self.maps[number][0].amax(dim=(1, 2)).argmax())

    def run(self) -> tuple[Tensor, Tensor]:
        """The sums (positions,) of the channel's map in float64, and the scores (positions, classes)."""
        tops, lefts = (corners.to(self.fill.device) for corners in self.squares.corners())
        corners = zip(torch.split(tops, self.chunk), torch.split(lefts, self.chunk), strict=True)
        totals, features = zip(*(self._chunk(top, left) for top, left in corners), strict=True)
        return torch.cat(totals), self._head(torch.cat(features))

    @cached_property
    def split(self) -> int:
        """The node after which only fully connected layers follow. These run fastest on all positions at once."""
        last = self.network.output
        for node in range(last, self.number - 1, -1):
            if not isinstance(self.network.nodes[node].step, steps.Linear | Pointwise | steps.Same):
                return node
            if self.network.nodes[node].inputs != (node - 1,):
                return last
        return last

    def _head(self, features: Tensor) -> Tensor:
        for node in self.network.nodes[self.split + 1 : self.network.output + 1]:
            features = node.step.forward(features)
        return features.flatten(1)

    @cached_property
    def chunk(self) -> int:
        """The number of positions to compute at once."""
        largest = max(map_.numel() for map_ in self.maps.values() if isinstance(map_, Tensor))
        return max(1, min(LARGEST_CHUNK, CHUNK_BYTES // (4 * largest)))

    def _chunk(self, tops: Tensor, lefts: Tensor) -> tuple[Tensor, Tensor]:
        changed: dict[int, _Window] = {0: self._squares(tops, lefts)}
        last_reader = {source: number for number, node in enumerate(self.network.nodes) for source in node.inputs}
        totals = features = torch.empty(0)
        last = max(self.split, self.number)  # with several outputs, the layer may come after the first
        for node in range(1, last + 1):
            inputs = self.network.nodes[node].inputs
            changed[node] = self._compute(node, [changed[source] for source in inputs])
            if node == self.number:
                totals = self._totals(changed[node])
            if node == self.split:
                features = self._insert(node, changed[node])
            for source in inputs:
                if last_reader[source] == node:
                    changed.pop(source, None)
        return totals, features

    def _squares(self, tops: Tensor, lefts: Tensor) -> _Window:
        side = self.squares.size
        patches = self.fill.unfold(1, side, 1).unfold(2, side, 1)  # (colours, rows, columns, side, side)
        values = patches[:, tops, lefts].transpose(0, 1)
        return _Window(values.contiguous(memory_format=torch.channels_last), tops, lefts)

    def _compute(self, node: int, inputs: list[_Window]) -> _Window:
        """The changed rectangles of a node, from those of its inputs."""
        step, sources = self.network.nodes[node].step, self.network.nodes[node].inputs
        if not step.local:
            return self._compute_whole(node, inputs)
        rows, columns = (self._outputs(node, axis, inputs) for axis in (0, 1))
        _, height, width = self.network.nodes[node].shape
        if rows[1] * columns[1] > WHOLE_SHARE * height * width:
            return self._compute_whole(node, inputs)
        parts = [
            self._cut(source, window, _inputs_of(step, 0, *rows), _inputs_of(step, 1, *columns), step.outside)
            for source, window in zip(sources, inputs, strict=True)
        ]
        return _Window(step.window(*parts), rows[0], columns[0])

    def _compute_whole(self, node: int, inputs: list[_Window]) -> _Window:
        sources = self.network.nodes[node].inputs
        maps = [self._insert(source, window) for source, window in zip(sources, inputs, strict=True)]
        zeros = torch.zeros_like(inputs[0].tops)
        return _Window(self.network.nodes[node].step.forward(*maps), zeros, zeros)

    def _insert(self, source: int, window: _Window) -> Tensor:
        """The whole map of each position, with the changed rectangle inserted."""
        if not self.network.nodes[source].is_map:
            return window.values
        _, height, width = self.network.nodes[source].shape
        if window.extent == (height, width):
            return window.values
        zeros = torch.zeros_like(window.tops)
        return self._cut(source, window, (zeros, height), (zeros, width), 0.0)

    def _outputs(self, node: int, axis: int, inputs: list[_Window]) -> tuple[Tensor, int]:
        """The first changed output of each position along an axis, and their number, which is the same for all positions.

        The number is at least 1: where a stride skips all changed inputs, an output is computed that does not change.
        """
        stride, before, reach = self.network.nodes[node].step.reach(axis)
        starts = [window.lefts if axis else window.tops for window in inputs]
        stops = [start + window.extent[axis] for start, window in zip(starts, inputs, strict=True)]
        first = -(
            (reach - 1 - before - torch.stack(starts).amin(0)) // stride
        )  # ceil((start + before - reach + 1) / stride)
        last = (torch.stack(stops).amax(0) - 1 + before) // stride
        extent = self.network.nodes[node].shape[1 + axis]
        size = min(max(int((last - first).max()) + 1, 1), extent)
        return first.clamp(0, extent - size), size

    def _cut(
        self, source: int, window: _Window, rows: tuple[Tensor, int], columns: tuple[Tensor, int], outside: float
    ) -> Tensor:
        """Cut rows and columns, each (starts, size), from a node's map with the changed rectangle inserted."""
        channels, height, width = self.network.nodes[source].shape
        window_height, window_width = window.extent
        row, on_row, in_row = _positions(rows, height, window.tops, window_height)
        column, on_column, in_column = _positions(columns, width, window.lefts, window_width)
        on_map = row[:, :, None] * width + column[:, None, :]
        position = torch.arange(len(window.tops), device=on_map.device)[:, None, None]
        row_in_window, column_in_window = row - window.tops[:, None], column - window.lefts[:, None]
        in_window = row_in_window[:, :, None] * window_width + column_in_window[:, None, :]
        changed = height * width + 1 + position * (window_height * window_width) + in_window
        index = torch.where(in_row[:, :, None] & in_column[:, None, :], changed, on_map)
        index = torch.where(on_row[:, :, None] & on_column[:, None, :], index, height * width)
        table = torch.cat(
            [
                self.maps[source].permute(0, 2, 3, 1).reshape(-1, channels),
                torch.full((1, channels), outside, dtype=window.values.dtype, device=on_map.device),
                window.values.permute(0, 2, 3, 1).reshape(-1, channels),
            ]
        )  # rows: locations on the map, one for all locations off the map, locations in the rectangles
        return table[index.flatten()].view(*index.shape, channels).permute(0, 3, 1, 2)

    def _totals(self, window: _Window) -> Tensor:
        """The sum of the channel's map at each position."""
        map_ = self.maps[self.number][:, self.channel : self.channel + 1]
        rows, columns = ((start, size) for start, size in zip((window.tops, window.lefts), window.extent, strict=True))
        row, column = (start[:, None] + torch.arange(size, device=start.device) for start, size in (rows, columns))
        before = map_[0, 0][row[:, :, None], column[:, None, :]]
        change = window.values[:, self.channel].double() - before.double()
        return map_.double().sum() + change.sum(dim=(1, 2))


def _inputs_of(step: Step, axis: int, starts: Tensor, size: int) -> tuple[Tensor, int]:
    """The inputs (starts, size) that outputs (starts, size) depend on, along an axis."""
    stride, before, reach = step.reach(axis)
    return starts * stride - before, (size - 1) * stride + reach


def _positions(cut: tuple[Tensor, int], extent: int, starts: Tensor, size: int) -> tuple[Tensor, Any, Any]:
    """The positions (n, size of the cut) along an axis, and masks of those on the map and in the changed rectangle."""
    positions = cut[0][:, None] + torch.arange(cut[1], device=starts.device)
    inside = (positions >= starts[:, None]) & (positions < starts[:, None] + size)
    return positions, (positions >= 0) & (positions < extent), inside
