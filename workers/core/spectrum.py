"""Images by their frequencies. Takes spectra of colours, gives images.

The parametrisation of Olah et al., "Feature Visualization" (Distill, 2017): an image is the inverse Fourier transform of
a spectrum divided by its frequency, in colours that are decorrelated over natural images. So a step of an optimiser changes
each frequency in proportion to its share in natural images; in the pixels themselves, it would change high frequencies most.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

START_STD = 0.01
CONTRAST = 0.25  # factor of the image before the sigmoid, as in the authors' code
# Square root of the covariance of the colours of ImageNet's photos, by the authors' code; rows are red, green, blue.
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


def start(shape: tuple[int, int, int], generators: Sequence[torch.Generator]) -> Tensor:
    """Random spectra that are nearly grey, one for each generator.

    Args:
        shape: channels, height and width of the images.
        generators: on the CPU.

    Returns:
        (n, channels, height, width // 2 + 1, 2): real and imaginary parts.
    """
    channels, height, width = shape
    size = (channels, height, width // 2 + 1, 2)
    return START_STD * torch.stack([torch.randn(size, generator=generator) for generator in generators])


def images(spectra: Tensor, width: int) -> Tensor:
    """The images of spectra.

    Args:
        spectra: see `start`.
        width: width of the images, of which a spectrum has only the half.

    Returns:
        (n, channels, height, width), above 0 and below 1.
    """
    channels, height = spectra.shape[1:3]
    scaled = torch.view_as_complex(spectra * _scales(height, width, spectra.device)[..., None])
    pixels = CONTRAST * torch.fft.irfft2(scaled, s=(height, width), norm="backward")
    if channels == len(_COLOURS):
        pixels = torch.einsum("rc,nchw->nrhw", _colours(spectra.device), pixels)
    return torch.sigmoid(pixels)


def _scales(height: int, width: int, device: torch.device) -> Tensor:
    """The factor of each frequency, (height, width // 2 + 1): its inverse, times the root of the number of pixels."""
    rows, columns = torch.fft.fftfreq(height, device=device), torch.fft.rfftfreq(width, device=device)
    frequencies = torch.hypot(rows[:, None], columns[None])
    scales: Tensor = (height * width) ** 0.5 / frequencies.clamp(min=1 / max(height, width))
    return scales


def _colours(device: torch.device) -> Tensor:
    """From decorrelated colours to red, green and blue; the largest column has the norm 1."""
    matrix = torch.tensor(_COLOURS, device=device)
    unit: Tensor = matrix / matrix.norm(dim=0).max()
    return unit
