"""Normalisations whose statistics follow from the image. Takes feature maps, gives feature maps; see `steps`.

The deconvnet carries the signal through unchanged, as the paper does with its contrast normalisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workers.core.rectifiers import differentiate
from workers.core.steps import Descent, Shape, Step, per_channel
from workers.spec.parts import Method


class LocalNorm(Step):
    """A normalisation across the channels at each location. The gradient multiplies by its derivative."""

    def keep(self, inputs: Sequence[Tensor], output: Tensor, method: Method) -> Tensor | None:
        return inputs[0] if method is Method.GRADIENT else None

    def kept_bytes(self, shape: Shape, method: Method) -> int:
        return 4 * shape[0] * shape[1] * shape[2] if method is Method.GRADIENT else 0

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        if descent.method is not Method.GRADIENT:
            return (signal,)
        return (differentiate(self, descent.window(descent.kept), signal),)


@dataclass(frozen=True, eq=False)
class LocalResponseNorm(LocalNorm):
    """Contrast normalisation across maps; downward, the signal is unchanged, as in the paper."""

    size: int
    alpha: float
    beta: float
    k: float
    kind = "response norm"

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.local_response_norm(inputs[0], self.size, self.alpha, self.beta, self.k)


@dataclass(frozen=True, eq=False)
class LayerNorm(LocalNorm):
    """Layer normalisation over the channels at each location (Ba et al. 2016)."""

    weight: Tensor | None
    bias: Tensor | None
    epsilon: float
    kind = "layer norm"
    exact = False

    def forward(self, *inputs: Tensor) -> Tensor:
        last = inputs[0].movedim(1, -1)
        return functional.layer_norm(last, last.shape[-1:], self.weight, self.bias, self.epsilon).movedim(-1, 1)


@dataclass(frozen=True, eq=False)
class RootMeanSquareNorm(LocalNorm):
    """Division by the root mean square of the channels at each location (Zhang & Sennrich 2019)."""

    weight: Tensor | None
    epsilon: float | None
    kind = "rms norm"
    exact = False

    def forward(self, *inputs: Tensor) -> Tensor:
        last = inputs[0].movedim(1, -1)
        return functional.rms_norm(last, last.shape[-1:], self.weight, self.epsilon).movedim(-1, 1)


@dataclass(frozen=True, eq=False)
class GroupNorm(Step):
    """Normalisation of groups of channels by their mean and deviation over the whole map (Wu & He 2018).

    These two numbers are held constant on the way down, like a gate: otherwise every unit would see the whole image. The
    gradient then divides by the deviation.
    """

    groups: int
    weight: Tensor | None
    bias: Tensor | None
    epsilon: float
    kind = "group norm"
    exact = False
    local = False
    gated = True
    by_channel = True

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.group_norm(inputs[0], self.groups, self.weight, self.bias, self.epsilon)

    def keep(self, inputs: Sequence[Tensor], output: Tensor, method: Method) -> Tensor | None:
        """The factor of each channel, (images, channels, 1, 1)."""
        if method is not Method.GRADIENT:
            return None
        grouped = inputs[0].reshape(len(inputs[0]), self.groups, -1)
        deviation = torch.sqrt(grouped.var(2, correction=0) + self.epsilon)
        channels = inputs[0].shape[1]
        factor = (1 / deviation).repeat_interleave(channels // self.groups, 1)[:, :, None, None]
        return factor if self.weight is None else factor * per_channel(self.weight)

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return (signal * descent.window(descent.kept) if descent.method is Method.GRADIENT else signal,)
