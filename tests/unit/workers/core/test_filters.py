"""Kernels whose answer is known: waves of given frequency and angle, nothing, noise, copies."""

import math

import pytest
import torch
import torchvision

from workers.core.filters import diagnose, pictures


def gabor(side: int, frequency: float, angle_deg: float) -> torch.Tensor:
    """A wave under a bell, the same in all colours; the angle is that of its change, counter-clockwise as one sees it."""
    place = torch.arange(side) - (side - 1) / 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    angle = math.radians(angle_deg)
    along = x * math.cos(angle) - y * math.sin(angle)  # rows count downward
    bell = torch.exp(-(x**2 + y**2) / (2 * (side / 5) ** 2))
    return (bell * torch.cos(2 * math.pi * frequency * along)).expand(3, -1, -1)


@pytest.mark.parametrize("frequency", [0.15, 0.25, 0.4])
@pytest.mark.parametrize("angle", [0, 30, 60, 90, 135, 170])
def test_a_gabors_frequency_and_angle_are_found(frequency, angle):
    found = diagnose(gabor(21, frequency, angle)[None], (1, 1))
    assert float(found.peak_frequency) == pytest.approx(frequency, abs=0.01)
    away = abs(float(found.orientation_deg) - angle) % 180
    assert min(away, 180 - away) < 3


def test_a_blob_has_no_direction_and_no_high_frequency():
    found = diagnose(gabor(11, 0.0, 0)[None], (2, 2))
    assert float(found.peak_frequency) == 0 and math.isnan(float(found.orientation_deg))
    assert float(found.high_frequency_share) < 0.01 and float(found.aliasing_share) < 0.01


def test_dead_and_copied_kernels_are_named():
    noise = torch.randn(3, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    kernels = torch.stack([noise[0], torch.zeros(3, 7, 7), noise[1], 3 * noise[0], -noise[1], noise[2] * 1e-4])
    found = diagnose(kernels, (2, 2))
    assert found.dead.tolist() == [False, True, False, False, False, True]
    assert found.duplicate_of.tolist() == [-1, -1, -1, 0, -1, -1]
    assert torch.isnan(found.peak_frequency).tolist() == found.dead.tolist()
    assert torch.allclose(found.norm, kernels.double().flatten(1).norm(dim=1))


def test_shares_of_one_pixel_are_areas_of_the_plane_of_frequencies():
    """A single pixel passes all frequencies alike, so that shares are areas: of a disc, and outside of a square."""
    kernel = torch.zeros(1, 3, 5, 5)
    kernel[0, :, 2, 2] = 1
    found = diagnose(kernel, (4, 2))
    assert float(found.high_frequency_share) == pytest.approx(1 - math.pi * 0.25**2, abs=0.01)
    assert float(found.aliasing_share) == pytest.approx(1 - 1 / 8, abs=1e-12)
    assert found.layer_aliasing_share == pytest.approx(float(found.aliasing_share))


def test_aliasing_agrees_with_what_sampling_folds_down():
    """Another road: energy of the response at every pixel against the energy that a band-limited copy of it keeps."""
    kernel = gabor(11, 0.3, 20)[None]
    noise = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    response = torch.nn.functional.conv2d(noise, kernel)[0, 0]
    spectrum = torch.fft.fft2(response)
    f = torch.fft.fftfreq(len(response))
    kept = (f.abs()[:, None] <= 0.125) & (f.abs()[None, :] <= 0.125)
    left = torch.fft.ifft2(spectrum * kept).real
    assert float(diagnose(kernel, (4, 4)).aliasing_share) == pytest.approx(
        1 - float(left.square().sum() / response.square().sum()), abs=0.02
    )


@pytest.mark.parametrize("stride", [(4, 4), (3, 2), (1, 5)])
def test_aliasing_is_an_integral_over_frequencies(stride):
    """Another road: the waves of a kernel, one by one, on a fine grid whose cells end at the limits of the stride."""
    kernels = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cells = 60 * 4
    f = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells - 0.5
    rows, columns = (torch.exp(-2j * math.pi * f[:, None] * torch.arange(side)) for side in (5, 7))
    energy = (rows @ kernels.to(torch.complex128) @ columns.T).abs().square().sum(1)
    kept = energy * (f.abs() < 0.5 / stride[0])[:, None] * (f.abs() < 0.5 / stride[1])
    expected = 1 - kept.sum((1, 2)) / energy.sum((1, 2))
    found = diagnose(kernels, stride)
    assert torch.allclose(found.aliasing_share, expected, atol=2e-4)
    assert found.layer_aliasing_share == pytest.approx(1 - float(kept.sum() / energy.sum()), abs=2e-4)


def test_kernels_wider_than_the_transform_are_whole():
    wide = torch.zeros(1, 1, 150, 150)
    wide[0, 0, 0, 0] = wide[0, 0, 149, 149] = 1
    assert float(diagnose(wide, (2, 2)).aliasing_share) == pytest.approx(0.75, abs=1e-4)


def test_no_stride_no_aliasing_and_a_larger_stride_more():
    weight = torchvision.models.alexnet(weights=None).features[0].weight.detach()
    shares = [diagnose(weight, (stride, stride)).layer_aliasing_share for stride in (1, 2, 4)]
    assert shares[0] == 0 and shares[0] < shares[1] < shares[2] < 1


def test_pictures_have_grey_for_zero_and_use_the_whole_range():
    kernels = torch.zeros(2, 3, 3, 3)
    kernels[0, 0, 1, 2] = -0.02
    drawn = pictures(kernels)
    assert drawn.shape == (2, 3, 3, 3)
    assert drawn[0, 1, 2].tolist() == [0, 128, 128] and (drawn[1] == 128).all()
