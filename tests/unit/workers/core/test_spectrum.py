"""Images by their frequencies, against the sum of cosines written out."""

import numpy as np
import pytest
import torch

from workers.core import spectrum

SIZES = [(6, 8), (7, 9), (8, 5), (1, 4)]


def summed(spectra: np.ndarray, width: int) -> np.ndarray:
    """The real image whose half spectrum, scaled by frequency, is given: (height, width), before colours and the sigmoid."""
    height, half = spectra.shape[:2]
    y, x = np.mgrid[:height, :width]
    image = np.zeros((height, width))
    for row in range(height):
        for column in range(half):
            fy, fx = (row if row < (height + 1) // 2 else row - height) / height, column / width
            scale = np.sqrt(height * width) / max(np.hypot(fy, fx), 1 / max(height, width))
            is_own_mirror = column == 0 or (width % 2 == 0 and column == width // 2)
            wave = (spectra[row, column, 0] + 1j * spectra[row, column, 1]) * np.exp(2j * np.pi * (fy * y + fx * x))
            image += (1 if is_own_mirror else 2) * scale * wave.real / (height * width)
    return 0.25 * image


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_an_image_is_the_sum_of_its_scaled_waves(height, width):
    generator = torch.Generator().manual_seed(0)
    spectra = torch.randn(2, 1, height, width // 2 + 1, 2, generator=generator)
    images = spectrum.images(spectra, width)
    for given, image in zip(spectra, images, strict=True):
        expected = 1 / (1 + np.exp(-summed(given[0].double().numpy(), width)))
        np.testing.assert_allclose(image[0].numpy(), expected, atol=1e-5)


def test_the_first_decorrelated_colour_is_nearly_grey_and_the_others_are_not():
    constant = torch.zeros(3, 3, 4, 3, 2)
    for number in range(3):
        constant[number, number, 0, 0, 0] = 10.0
    logits = torch.logit(spectrum.images(constant, 4)[:, :, 0, 0].double())
    norm = (0.26**2 + 0.27**2 + 0.27**2) ** 0.5
    expected = torch.tensor([[0.26, 0.27, 0.27], [0.09, 0.0, -0.09], [0.02, -0.05, 0.03]], dtype=torch.float64)
    torch.testing.assert_close(logits, 0.25 * 10 * expected / norm, atol=1e-5, rtol=1e-5)


def test_a_start_is_nearly_grey_and_depends_on_its_generator_only():
    def start(*seeds: int) -> torch.Tensor:
        return spectrum.start((3, 32, 40), [torch.Generator().manual_seed(seed) for seed in seeds])

    one, other = start(1, 2)
    assert torch.equal(one, start(1)[0]) and torch.equal(other, start(5, 2)[1]) and not torch.equal(one, other)
    images = spectrum.images(start(1, 2), 40)
    assert images.shape == (2, 3, 32, 40) and (images - 0.5).abs().max() < 0.1 and images.std() > 0
