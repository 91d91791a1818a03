"""Two roads to a projection: ours, and automatic differentiation of whole images. Takes units, gives full-size projections."""

import pytest
import torch
from torch import Tensor

from workers.core import joins, norms, rectifiers
from workers.core.deconvnet import project
from workers.core.network import Network
from workers.core.recording import Units, record
from workers.spec.parts import Method

Place = tuple[int, int, int, int]  # image, channel, y, x


def projected(network: Network, images: Tensor, number: int, places: list[Place], method: Method) -> Tensor:
    """Full-size projections (units, 3, height, width)."""
    units = Units(*(torch.tensor(column) for column in zip(*places, strict=True)))
    tape = record(network, images, {number: units}, method)
    signals, boxes = project(tape, number, units, tape.values[number])
    full = torch.zeros(len(places), *images.shape[1:], dtype=images.dtype)
    for place, signal, box in zip(full, signals, boxes, strict=True):
        cut = box.cut(*images.shape[2:])
        place[:, cut.top : cut.bottom, cut.left : cut.right] = signal[
            :, cut.top - box.top : cut.bottom - box.top, cut.left - box.left : cut.right - box.left
        ]
        assert signal.abs().sum() == pytest.approx(float(place.abs().sum()))  # nothing lies outside the image
    return full


class Rectified(torch.autograd.Function):
    """A rectifier whose way back rectifies the signal, with the derivative or without it."""

    @staticmethod
    def forward(context, x, step, masked):
        context.save_for_backward(x)
        context.step, context.masked = step, masked
        return step.forward(x)

    @staticmethod
    def backward(context, signal):
        signal = signal.clamp(min=0)
        if context.masked:
            with torch.enable_grad():
                leaf = context.saved_tensors[0].detach().requires_grad_()
                signal = torch.autograd.grad(context.step.forward(leaf), leaf, signal)[0]
        return signal, None, None


class Through(torch.autograd.Function):
    """A step whose way back leaves the signal as it is."""

    @staticmethod
    def forward(_, x, step):
        return step.forward(x)

    @staticmethod
    def backward(_, signal):
        return signal, None


def upward(step, inputs: list[Tensor], method: Method) -> Tensor:
    """A step whose gradient is the downward step of a method."""
    if isinstance(step, rectifiers.Pointwise) and method is not Method.GRADIENT:
        return Rectified.apply(inputs[0], step, method is Method.GUIDED_BACKPROP)
    if isinstance(step, norms.LocalNorm | norms.GroupNorm) and method is not Method.GRADIENT:
        return Through.apply(inputs[0], step)
    if isinstance(step, norms.GroupNorm):
        return _normalised(step, inputs[0])
    if isinstance(step, joins.Gate):
        return step.forward(inputs[0], inputs[1].detach())
    return step.forward(*inputs)


def _normalised(step: norms.GroupNorm, x: Tensor) -> Tensor:
    """Group normalisation with mean and deviation held constant."""
    groups = x.reshape(len(x), step.groups, -1)
    mean, variance = groups.mean(2, keepdim=True).detach(), groups.var(2, correction=0, keepdim=True).detach()
    even = ((groups - mean) / (variance + step.epsilon).sqrt()).view_as(x)
    if step.weight is None:
        return even
    return even * step.weight.view(1, -1, 1, 1) + (0 if step.bias is None else step.bias.view(1, -1, 1, 1))


def differentiated(network: Network, images: Tensor, number: int, places: list[Place], method: Method) -> list[Tensor]:
    """Projections (3, height, width) on whole images: all of the network runs, nothing is cut."""
    leaf = images.clone().requires_grad_()
    values: list[Tensor] = []
    for node in network.nodes[: number + 1]:
        inputs = [values[i] for i in node.inputs]
        values.append(upward(node.step, inputs, method) if inputs else leaf)
    units = [values[number][place] for place in places]
    return [
        torch.autograd.grad(unit, leaf, unit.detach(), retain_graph=True)[0][place[0]]
        for unit, place in zip(units, places, strict=True)
    ]
