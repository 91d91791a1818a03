"""One network, checked by other roads. Takes a module, gives what agrees: numbers upward, projections, receptive fields.

Upward, the steps must give the very bits of the module; with operations that have no downward step, such as attention, the
same numbers but for rounding, because torch adds up in another order if a map has another layout in memory. Downward,
projections by all three methods must equal automatic differentiation of whole images. A receptive field must be the box of
pixels with a gradient, once every function of single activations is the identity, a maximum is a mean, and gates are 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.differentiated import differentiated, projected, upward
from workers.core import joins, norms, pooling, rectifiers
from workers.core.graph import trace
from workers.core.network import Layer, Network
from workers.core.receptive_field import Box, Field
from workers.spec.parts import Method

LAYERS = 3  # of each network, spread from its first to its last convolution
TOLERANCE = 1e-5
ROUNDING = 1e-9  # of float64, through all layers


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        layers: number of layers.
        auto: number of those that `auto` selects.
        gated: number of those above a gate.
        projectable: number of those with projections.
        obstacle: the lowest operation without a downward step; empty if the output has projections.
        upward: number of operations that only run upward, in gates too.
        difference: largest difference of an output from the module's, relative to the largest value; 0 if all bits are equal.
        error: largest difference of a projection, relative to its largest value.
        fields: whether all fields that were checked are those of the gradient.
    """

    layers: int
    auto: int
    gated: int
    projectable: int
    obstacle: str
    upward: int
    difference: float
    error: float
    fields: bool

    @property
    def agrees(self) -> bool:
        """Whether everything that has a downward step agrees."""
        alike = self.difference <= (ROUNDING if self.upward else 0)
        return alike and self.fields and self.error <= TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether everything agrees, and the output has projections."""
        return self.agrees and not self.obstacle


def check(module: nn.Module, channels: int, side: int) -> Checked:
    """Check a module in evaluation mode, in float64."""
    module = module.double().eval().requires_grad_(False)
    for parameter in module.parameters():
        if not parameter.any():  # the last factor of a residual branch often starts at 0, and hides the whole branch
            parameter.fill_(0.3)
    network = Network(trace(module, (side, side), channels))
    images = torch.randn(1, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chosen = _spread([layer for layer in network.select(["auto"]) if not layer.obstacle])
    output = next((layer for layer in network.layers if layer.node == network.output), network.layers[-1])
    return Checked(
        layers=len(network.layers),
        auto=len(network.select(["auto"])),
        gated=sum(layer.gated for layer in network.layers),
        projectable=sum(not layer.obstacle for layer in network.layers),
        obstacle=output.obstacle,
        upward=sum(bool(node.step.obstacle) for node in network.nodes),
        difference=_difference(network, module, images),
        error=max((_error(network, images, layer) for layer in chosen), default=0.0),
        fields=all(_has_field(network, images, layer) for layer in chosen),
    )


def _spread(layers: list[Layer]) -> list[Layer]:
    numbers = {round(index * (len(layers) - 1) / (LAYERS - 1)) for index in range(LAYERS)} if layers else set()
    return [layers[number] for number in sorted(numbers)]


def _difference(network: Network, module: nn.Module, images: Tensor) -> float:
    seen: list[Tensor] = []
    both = torch.cat([images, images.flip(3)])
    with torch.inference_mode():
        network.forward(both, [network.output], lambda _, __, value: seen.append(value))
        wanted = module(both.clone()).flatten(1)
    return float((seen[0].flatten(1) - wanted).abs().max() / wanted.abs().max())


def _places(layer: Layer) -> list[tuple[int, int, int, int]]:
    places = {(0, 0), (layer.height // 2, layer.width // 2), (layer.height - 1, layer.width // 3)}
    return [(0, (5 * n) % layer.channels, y, x) for n, (y, x) in enumerate(sorted(places))]


def _error(network: Network, images: Tensor, layer: Layer) -> float:
    largest = 0.0
    for method in Method:
        got = projected(network, images, layer.node, _places(layer), method)
        wanted = differentiated(network, images, layer.node, _places(layer), method)
        for mine, theirs in zip(got, wanted, strict=True):
            scale = max(float(theirs.abs().max()), 1e-300)
            largest = max(largest, float((mine - theirs).abs().max()) / scale)
    return largest


def _has_field(network: Network, images: Tensor, layer: Layer) -> bool:
    """Whether a unit in the middle sees what its field says, as far as windows reach."""
    y, x = layer.height // 2, layer.width // 2
    leaf = torch.ones_like(images, requires_grad=True)
    values: list[Tensor] = []
    for node in network.nodes[: layer.node + 1]:
        inputs = [values[number] for number in node.inputs]
        values.append(_linear(node.step, inputs) if inputs else leaf)
    return all(
        _covers(field, values[layer.node][0, channels, y, x].sum(), leaf, (y, x))
        for field, channels in _by_field(layer)
    )


def _by_field(layer: Layer) -> list[tuple[Field, list[int]]]:
    """The smallest and the largest field of the layer's channels, and the first two channels that have it; and its hull."""
    every = list(range(layer.channels))
    ordered = sorted(layer.fields.fields, key=lambda field: (field.height, field.width))
    of_some = {field: [channel for channel in every if layer.fields.of(channel) == field][:2] for field in ordered}
    return [(layer.field, every), *((field, of_some[field]) for field in {ordered[0], ordered[-1]})]


def _covers(field: Field, score: Tensor, leaf: Tensor, unit: tuple[int, int]) -> bool:
    """Whether the pixels that change a score are those of a field, as far as windows reach."""
    [slope] = torch.autograd.grad(score, leaf, retain_graph=True)
    seen = slope[0].abs().sum(0) > 0
    rows, columns = (seen.any(1 - axis).nonzero().flatten() for axis in (0, 1))
    box = field.box(*unit).cut(*leaf.shape[2:])
    actual = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    inside = (
        box.top <= actual.top and box.left <= actual.left and actual.bottom <= box.bottom and actual.right <= box.right
    )
    # Floor mode and strides of 1 x 1 kernels leave out pixels at the end. A resize by a fraction counts as seeing everything.
    starts = ((field.rows, actual.top == box.top), (field.columns, actual.left == box.left))
    return inside and all(span.step == 0 or is_equal for span, is_equal in starts)


def _linear(step, inputs: list[Tensor]) -> Tensor:
    if isinstance(step, rectifiers.Pointwise | norms.LocalNorm | joins.Gate):
        return inputs[0]
    if isinstance(step, pooling.MaxPool) and step.dilation == (1, 1):
        return functional.avg_pool2d(inputs[0], step.size, step.stride, step.padding, step.ceil)
    return upward(step, inputs, Method.GRADIENT)
