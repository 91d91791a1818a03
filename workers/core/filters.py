"""Diagnosis of first-layer kernels. Takes weights and a stride, gives frequencies, orientations and shares of energy.

Zeiler & Fergus 2014, section 4.1, observed in AlexNet's first layer very high and very low frequencies with little between,
dead kernels, and aliasing by its stride of 4. This module measures each of them. A kernel's energy is that of its discrete
Fourier transform, zero-padded to at least 128 x 128 and summed over colours, which is its response to white noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLES = 128
HIGH_FREQUENCY = 0.25  # cycles per pixel: half the largest frequency that pixels can represent
DEAD_NORM = 0.01  # share of the largest norm
SAME_COSINE = 0.99


@dataclass(frozen=True, eq=False)
class Kernels:
    """The properties of all kernels, as tensors (channels,).

    Attributes:
        norm: Euclidean norm.
        peak_frequency: frequency with the largest energy, cycles per pixel; 0 for a blob of colour, nan for a dead kernel.
        orientation_deg: direction of the change, degrees from the x axis towards the top of the image, in [0, 180); nan
            if the peak frequency is 0 or the kernel is dead. Vertical bars have 0, horizontal bars 90.
        high_frequency_share: share of energy above 0.25 cycles per pixel; nan for a dead kernel.
        aliasing_share: share of energy at frequencies that the stride cannot represent; nan for a dead kernel.
        dead: whether the norm is at most 1 % of the largest.
        duplicate_of: the first earlier channel with a cosine above 0.99; -1 if there is none.
        layer_aliasing_share: aliasing share of all kernels' total energy, a number.
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
    """Measure the kernels (channels, colours, height, width) of a convolution with a stride (rows, columns)."""
    kernels = weight.double().cpu()
    norm = kernels.flatten(1).norm(dim=1)
    dead = norm <= DEAD_NORM * norm.max()
    samples = max(SAMPLES, 2 * max(kernels.shape[-2:]))  # with fewer, the lags of `_aliased` would overlap
    energy = torch.fft.fft2(kernels, s=(samples, samples)).abs().square().sum(1)  # (channels, rows, columns)
    fy, fx = torch.meshgrid(torch.fft.fftfreq(samples), torch.fft.fftfreq(samples), indexing="ij")
    frequency, angle = _peaks(energy, fy, fx)
    aliased = _aliased(kernels, energy, stride)
    nan = torch.tensor(torch.nan, dtype=torch.float64)
    total = energy.sum(dim=(1, 2))
    whole = kernels.square().sum()
    return Kernels(
        norm=norm,
        peak_frequency=torch.where(dead, nan, frequency),
        orientation_deg=torch.where(dead | (frequency == 0), nan, angle),
        high_frequency_share=torch.where(dead, nan, energy[:, torch.hypot(fy, fx) > HIGH_FREQUENCY].sum(1) / total),
        aliasing_share=torch.where(dead, nan, aliased / norm.square()),
        dead=dead,
        duplicate_of=_duplicates(kernels.flatten(1), dead),
        layer_aliasing_share=float(aliased.sum() / whole) if float(whole) else 0.0,
    )


def pictures(weight: Tensor) -> Tensor:
    """Kernels as uint8 (channels, height, width, colours): linear, with 0 at mid-grey, scaled to the largest value."""
    kernels = weight.float().cpu()
    largest = kernels.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return ((kernels / largest + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def _peaks(energy: Tensor, fy: Tensor, fx: Tensor) -> tuple[Tensor, Tensor]:
    """The frequency and direction of the strongest wave; of a wave and its mirror image, the one in the upper half."""
    place = energy.flatten(1).argmax(1)
    y, x = fy.flatten()[place].double(), fx.flatten()[place].double()
    return torch.hypot(y, x), torch.rad2deg(torch.atan2(-y, x)) % 180


def _aliased(kernels: Tensor, energy: Tensor, stride: tuple[int, int]) -> Tensor:
    """The energy (channels,) beyond the Nyquist limits of a stride, from an integral of the spectrum, exact for every stride.

    The spectrum is a sum of cosines whose coefficients are the kernel's autocorrelation, and each of them integrates to a sinc.
    """
    whole = kernels.square().sum(dim=(1, 2, 3))
    if stride == (1, 1):
        return torch.zeros_like(whole)
    correlation = torch.fft.ifft2(energy).real
    lags = torch.fft.fftfreq(energy.shape[-1], 1 / energy.shape[-1], dtype=torch.float64)
    rows, columns = (torch.sinc(lags / step) / step for step in stride)
    return (whole - torch.einsum("cyx,y,x->c", correlation, rows, columns)).clamp(min=0)


def _duplicates(kernels: Tensor, dead: Tensor) -> Tensor:
    directions = torch.nn.functional.normalize(kernels, dim=1)
    same = (directions @ directions.T > SAME_COSINE).tril(-1) & ~dead[:, None] & ~dead[None, :]
    first = same.int().argmax(1)
    return torch.where(same.any(1), first, -1)
