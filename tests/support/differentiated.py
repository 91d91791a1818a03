"""Two roads to a projection: ours, and automatic differentiation of whole images. Takes units, gives full-size projections."""

import pytest
import torch
from torch import Tensor

from workers.core import steps
from workers.core.deconvnet import Units, project, record
from workers.core.network import Network
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


class Downward(torch.autograd.Function):
    """A ReLU whose way back rectifies the signal, with the forward mask or without it."""

    @staticmethod
    def forward(context, x, masked):
        context.save_for_backward(x)
        context.masked = masked
        return x.clamp(min=0)

    @staticmethod
    def backward(context, signal):
        signal = signal.clamp(min=0)
        return (signal * (context.saved_tensors[0] > 0) if context.masked else signal), None


def differentiated(network: Network, images: Tensor, number: int, places: list[Place], method: Method) -> list[Tensor]:
    """Projections (3, height, width) on whole images: all of the network runs, nothing is cut."""
    leaf = images.clone().requires_grad_()
    values: list[Tensor] = []
    for node in network.nodes[: number + 1]:
        inputs = [values[i] for i in node.inputs]
        if not inputs:
            values.append(leaf)
        elif isinstance(node.step, steps.Rectifier) and method is not Method.GRADIENT:
            values.append(Downward.apply(inputs[0], method is Method.GUIDED_BACKPROP))
        else:
            values.append(node.step.forward(*inputs))
    units = [values[number][place] for place in places]
    return [
        torch.autograd.grad(unit, leaf, unit.detach(), retain_graph=True)[0][place[0]]
        for unit, place in zip(units, places, strict=True)
    ]
