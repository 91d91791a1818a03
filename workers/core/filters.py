"""The kernels of a first convolution as what they pass. Takes weights and a stride, gives frequencies, angles and shares.

Zeiler & Fergus 2014, section 4.1, saw in AlexNet's first layer very high and very low frequencies and little between, dead
kernels, and the aliasing of its stride of 4. Here each is a number. A kernel's energy is that of its discrete Fourier
transform, zero-padded to 128 x 128 and summed over its colours: its response to white noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLES = 128
HIGH_FREQUENCY = 0.25  # cycles per pixel: half of what pixels can carry
DEAD_NORM = 0.01  # of the largest norm
SAME_COSINE = 0.99


@dataclass(frozen=True, eq=False)
class Kernels:
    """What is known of each kernel, tensors of length (channels,).

    Attributes:
        norm: Euclidean norm.
        peak_frequency: cycles per pixel at which the energy is largest; 0 for a blob of colour, nan for a dead kernel.
        orientation_deg: direction of the change, degrees from the x axis towards the top of the image, in [0, 180); nan
            where the peak frequency is 0 or the kernel is dead. 0 are vertical bars, 90 horizontal ones.
        high_frequency_share: share of energy above 0.25 cycles per pixel; nan for a dead kernel.
        aliasing_share: share of energy at frequencies that the stride cannot carry; nan for a dead kernel.
        dead: the norm is below 1 % of the largest.
        duplicate_of: the first earlier channel with a cosine above 0.99; -1 where there is none.
        layer_aliasing_share: of all kernels' energy together.
    """

    norm: Tensor
    peak_frequency: Tensor
    orientation_deg: Tensor
    high_frequency_share: Tensor
    aliasing_share: Tensor
    dead: Tensor
    duplicate_of: Tensor
    layer_aliasing_share: float


def diagnose(weight: Tensor, stride: tuple[int, int]) -> Kernels:
    """Look at kernels (channels, colours, height, width) of a convolution with a stride (rows, columns)."""
    kernels = weight.double().cpu()
    norm = kernels.flatten(1).norm(dim=1)
    dead = norm <= DEAD_NORM * norm.max()
    energy = torch.fft.fft2(kernels, s=(SAMPLES, SAMPLES)).abs().square().sum(1)  # (channels, rows, columns)
    fy, fx = torch.meshgrid(torch.fft.fftfreq(SAMPLES), torch.fft.fftfreq(SAMPLES), indexing="ij")
    frequency, angle = _peaks(energy, fy, fx)
    beyond = (fy.abs() > 0.5 / stride[0]) | (fx.abs() > 0.5 / stride[1])
    nothing = torch.tensor(torch.nan, dtype=torch.float64)
    total = energy.sum(dim=(1, 2))
    return Kernels(
        norm=norm,
        peak_frequency=torch.where(dead, nothing, frequency),
        orientation_deg=torch.where(dead | (frequency == 0), nothing, angle),
        high_frequency_share=torch.where(dead, nothing, energy[:, torch.hypot(fy, fx) > HIGH_FREQUENCY].sum(1) / total),
        aliasing_share=torch.where(dead, nothing, energy[:, beyond].sum(1) / total),
        dead=dead,
        duplicate_of=_duplicates(kernels.flatten(1), dead),
        layer_aliasing_share=float(energy[:, beyond].sum() / total.sum()) if float(total.sum()) else 0.0,
    )


def pictures(weight: Tensor) -> Tensor:
    """Kernels of three colours as uint8 (channels, height, width, 3): linear, zero is mid-grey, the largest value fills."""
    kernels = weight.float().cpu()
    largest = kernels.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return ((kernels / largest + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def _peaks(energy: Tensor, fy: Tensor, fx: Tensor) -> tuple[Tensor, Tensor]:
    """Frequency and direction of the strongest wave; of a wave and its mirror image the one in the upper half counts."""
    place = energy.flatten(1).argmax(1)
    y, x = fy.flatten()[place].double(), fx.flatten()[place].double()
    return torch.hypot(y, x), torch.rad2deg(torch.atan2(-y, x)) % 180


def _duplicates(kernels: Tensor, dead: Tensor) -> Tensor:
    directions = torch.nn.functional.normalize(kernels, dim=1)
    alike = (directions @ directions.T > SAME_COSINE).tril(-1) & ~dead[:, None] & ~dead[None, :]
    first = alike.int().argmax(1)
    return torch.where(alike.any(1), first, -1)
