"""Functions that act on each activation by itself. Takes feature maps, gives feature maps; see `steps`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workers.core.steps import Descent, Shape, Step
from workers.spec.parts import Method

# By torch's names, and with torch's arguments.
FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "hardtanh": functional.hardtanh,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "celu": functional.celu,
    "selu": functional.selu,
    "silu": functional.silu,
    "gelu": lambda map_, approximate: functional.gelu(map_, approximate=approximate),
    "hardswish": functional.hardswish,
    "mish": functional.mish,
    "softplus": functional.softplus,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": functional.hardsigmoid,
    "tanh": torch.tanh,
    "log_sigmoid": functional.logsigmoid,
    "softsign": functional.softsign,
    "clamp": torch.clamp,
    "threshold": functional.threshold,
    "pow": torch.pow,
    "square": torch.square,
    "x * sigmoid(x)": lambda map_: map_ * torch.sigmoid(map_),
    "x * hardsigmoid(x)": lambda map_: map_ * functional.hardsigmoid(map_),
}
BOUNDED = frozenset({"sigmoid", "hardsigmoid", "tanh"})  # the functions that gates end with
IN_PAPER = frozenset({"relu", "relu6"})

Argument = float | int | str | None


class Pointwise(Step):
    """A function of each activation; downward, the signal itself is rectified, whatever the sign was in the forward pass.

    Guided backpropagation also multiplies by the derivative of the function, and the gradient only does that.
    """

    kind = "rectifier"
    by_channel = True

    def keep(self, inputs: Sequence[Tensor], output: Tensor, method: Method) -> Tensor | None:
        return inputs[0] if method is not Method.DECONVNET else None

    def kept_bytes(self, shape: Shape, method: Method) -> int:
        return 0 if method is Method.DECONVNET else 4 * shape[0] * shape[1] * shape[2]

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        if descent.method is not Method.GRADIENT:
            signal = functional.relu(signal)
        if descent.method is Method.DECONVNET:
            return (signal,)
        return (differentiate(self, descent.window(descent.kept), signal),)


@dataclass(frozen=True, eq=False)
class Rectifier(Pointwise):
    """A rectifier with torch's name and arguments. All compute out of place, even if the module does not."""

    name: str
    arguments: tuple[Argument, ...] = ()

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether the paper has it: it has the rectified linear unit; the others are our extension."""
        return self.name in IN_PAPER

    def forward(self, *inputs: Tensor) -> Tensor:
        return FUNCTIONS[self.name](inputs[0], *self.arguments)


@dataclass(frozen=True, eq=False)
class ParametricRectifier(Pointwise):
    """The rectifier of He et al. 2015, whose slope below 0 is learned for each channel, or one for all."""

    slope: Tensor
    exact = False

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.prelu(inputs[0], self.slope)


def differentiate(step: Step, inputs: Tensor, signal: Tensor) -> Tensor:
    """The signal times the derivative of a step at these inputs."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = inputs.clone().requires_grad_()
        result: Tensor = torch.autograd.grad(step.forward(leaf), leaf, signal.clone())[0]
    return result
