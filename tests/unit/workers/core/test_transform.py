"""Moved, enlarged and turned images, by other roads: numpy's roll and pad, Pillow, torch's resizing, and plain loops."""

import cmath
import math
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from workers.core.transform import GREY, rotated, scaled, transformed, translated
from workers.spec.invariance import IDENTITY, Border, InvarianceSpec, Transform

PADDED: dict[Border, Literal["edge", "reflect", "wrap"]] = {
    Border.EDGE: "edge",
    Border.REFLECT: "reflect",
    Border.WRAP: "wrap",
}


def photo(side: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, side, side), generator=generator, dtype=torch.uint8)


def beyond(pixels: torch.Tensor, border: Border, y: int, x: int) -> np.ndarray:
    """The colour at a place that may lie beyond the border; places by numpy's own padding."""
    side, margin = pixels.shape[1], pixels.shape[1] - 1
    if border is Border.GREY:
        inside = 0 <= y < side and 0 <= x < side
        return pixels[:, y, x].numpy().astype(float) if inside else np.full(3, GREY)
    whole = np.pad(pixels.numpy(), [(0, 0), (margin, margin), (margin, margin)], mode=PADDED[border])
    return whole[:, y + margin, x + margin].astype(float)


def sampled(pixels: torch.Tensor, border: Border, y: float, x: float) -> np.ndarray:
    """Bilinear between four places."""
    top, left = math.floor(y), math.floor(x)
    down, right = y - top, x - left
    corners = [
        (0, 0, (1 - down) * (1 - right)),
        (0, 1, (1 - down) * right),
        (1, 0, down * (1 - right)),
        (1, 1, down * right),
    ]
    parts = [share * beyond(pixels, border, top + i, left + j) for i, j, share in corners if share > 1e-12]
    return np.sum(parts, axis=0)


@pytest.mark.parametrize("border", Border)
@pytest.mark.parametrize("transform", Transform)
@pytest.mark.parametrize("side", [9, 160])
def test_by_the_amount_that_does_nothing_an_image_is_itself_bit_for_bit(transform, border, side):
    pixels = photo(side)
    assert torch.equal(transformed(pixels, transform, IDENTITY[transform], border), pixels.float())


@pytest.mark.parametrize(("down", "right"), [(0, 3), (-5, 0), (7, -8), (1, 1)])
def test_translation_is_what_numpy_rolls_and_pads(down, right):
    pixels, side = photo(9), 9
    assert np.array_equal(translated(pixels, down, right, Border.WRAP), np.roll(pixels.numpy(), (down, right), (1, 2)))
    margin = 8
    for border, mode in PADDED.items():
        whole = np.pad(pixels.numpy(), [(0, 0), (margin, margin), (margin, margin)], mode=mode)
        cut = whole[:, margin - down : margin - down + side, margin - right : margin - right + side]
        assert np.array_equal(translated(pixels, down, right, border), cut)
    whole = np.pad(pixels.numpy().astype(float), [(0, 0), (margin, margin), (margin, margin)], constant_values=GREY)
    cut = whole[:, margin - down : margin - down + side, margin - right : margin - right + side]
    assert np.array_equal(translated(pixels, down, right, Border.GREY), cut)
    assert torch.equal(
        transformed(pixels, Transform.TRANSLATE_Y, down, Border.EDGE), translated(pixels, down, 0, Border.EDGE)
    )
    assert torch.equal(
        transformed(pixels, Transform.TRANSLATE_X, right, Border.EDGE), translated(pixels, 0, right, Border.EDGE)
    )


@pytest.mark.parametrize("side", [8, 9, 160])
@pytest.mark.parametrize("border", Border)
def test_quarters_of_a_turn_are_pillows_exactly(side, border):
    pixels = photo(side)
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    for degrees in (90, 180, 270, 360, -90):
        turned = np.asarray(picture.rotate(degrees)).transpose(2, 0, 1)
        assert np.array_equal(rotated(pixels, degrees, border), turned)


@pytest.mark.parametrize("border", Border)
@pytest.mark.parametrize("degrees", [33.0, -130.0])
def test_rotation_is_that_of_plain_loops(border, degrees):
    pixels, side = photo(9), 9
    found, middle = rotated(pixels, degrees, border), (side - 1) / 2
    for y in range(side):
        for x in range(side):
            # The complex plane's y axis points up; what is seen here was turned away from there.
            seen = complex(x - middle, middle - y) * cmath.exp(-1j * math.radians(degrees))
            assert found[:, y, x].numpy() == pytest.approx(
                sampled(pixels, border, middle - seen.imag, seen.real + middle), abs=1e-4
            )


@pytest.mark.parametrize("border", Border)
def test_enlarging_is_that_of_plain_loops(border):
    pixels, side = photo(9), 9
    found, middle = scaled(pixels, 1.7, border), (side - 1) / 2
    for y in range(side):
        for x in range(side):
            seen = sampled(pixels, border, (y - middle) / 1.7 + middle, (x - middle) / 1.7 + middle)
            assert found[:, y, x].numpy() == pytest.approx(seen, abs=1e-4)


def test_an_image_at_half_its_size_is_torchs_antialiased_one_amid_the_border():
    pixels = photo(32)
    half = functional.interpolate(pixels[None].float(), scale_factor=0.5, mode="bilinear", antialias=True)[0]
    found = scaled(pixels, 0.5, Border.GREY)
    # At the rim torch spreads the weights that fall beyond over what is inside; here grey is seen there.
    assert torch.allclose(found[:, 9:-9, 9:-9], half[:, 1:-1, 1:-1], atol=1e-3)
    assert bool((found[:, :7] == GREY).all()) and bool((found[:, :, -7:] == GREY).all())
    tiled = scaled(pixels, 0.5, Border.WRAP)
    assert torch.equal(tiled[:, :16], tiled[:, 16:]) and torch.equal(tiled[:, :, :16], tiled[:, :, 16:])


@pytest.mark.parametrize("border", Border)
def test_one_colour_stays_one_colour_where_the_border_is_the_image(border):
    pixels = torch.full((3, 16, 16), 200, dtype=torch.uint8)
    for transform, amount in [(Transform.SCALE, 0.3), (Transform.ROTATE, 45.0), (Transform.TRANSLATE_X, 15.0)]:
        found = transformed(pixels, transform, amount, border)
        same = torch.allclose(found, torch.full_like(found, 200.0), atol=1e-4)
        assert same == (border is not Border.GREY)
        assert bool((found > GREY - 1e-3).all()) and bool((found < 200.001).all())


def test_amounts_ascend_each_once_with_nothing_among_them_and_default_to_the_papers():
    spec = InvarianceSpec()
    assert spec.amounts(Transform.TRANSLATE_Y, 224) == tuple(float(10 * step) for step in range(-6, 7))
    assert spec.amounts(Transform.TRANSLATE_X, 112) == tuple(float(5 * step) for step in range(-6, 7))
    assert spec.amounts(Transform.SCALE, 9)[0] == 1 and spec.amounts(Transform.SCALE, 9)[-1] == 1.8
    assert spec.amounts(Transform.ROTATE, 9)[0] == 0 and spec.amounts(Transform.ROTATE, 9)[-1] == 360
    asked = InvarianceSpec(translations=(3, -2, 3), scales=(2.0, 0.5), rotations=(-0.0, 9.0))
    assert asked.amounts(Transform.TRANSLATE_Y, 9) == (-2, 0, 3)
    assert asked.amounts(Transform.SCALE, 9) == (0.5, 1, 2)
    assert str(asked.amounts(Transform.ROTATE, 9)) == "(0.0, 9.0)"
