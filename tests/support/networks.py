"""Small networks for tests. Takes a seed, gives torch modules with every trait that a graph can stumble over."""

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.core import steps
from workers.core.network import Network
from workers.core.nodes import Node

Made = TypeVar("Made", bound=nn.Module)


def weighted(node: Node) -> steps.Convolution:
    """The step of a node that has weights."""
    assert hasattr(node.step, "weight")
    return cast(steps.Convolution, node.step)


def output_of(network: Network, images: Tensor) -> Tensor:
    """The output (n, classes) of a network without maps at its end."""
    outputs: list[Tensor] = []
    with torch.inference_mode():
        network.forward(images, [network.output], lambda _, __, value: outputs.append(value))
    return outputs[0].flatten(1)


def seeded(module: Made, seed: int = 0) -> Made:
    """The module in float64 and evaluation mode, with batch norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_(0, 0.3, generator=generator)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d) and each.running_var is not None:
            each.running_var.uniform_(0.5, 1.5, generator=generator)
    return module.double().eval().requires_grad_(False)


def alexnet_like() -> nn.Sequential:
    """Stride, padding, overlapping pooling, in-place ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 7, stride=2, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(6, 8, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(inplace=True),
    )  # fmt: skip


def vgg_like() -> nn.Sequential:
    """Dense 3x3 convolutions and pooling without overlap."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2),
        nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(6, 7, 3), nn.ReLU(),
    )  # fmt: skip


class Tangled(nn.Module):
    """One ReLU called many times, in place and functional; a residual; a concatenation; a global head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.one = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.two = nn.Conv2d(6, 4, 1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.relu(self.norm(self.stem(x)))
        y = self.one(x)
        y += x
        y = self.relu(y)
        z = functional.relu(self.two(functional.max_pool2d(y, 3, 1, 1)), inplace=True)
        joined = functional.avg_pool2d(torch.cat([y, z], 1), 2)
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(joined, 1), 1))


class Written(nn.Module):
    """Reads a map again after a ReLU wrote over it: what it reads is the rectified map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.first(x)
        self.relu(x)
        return self.second(x) + x
