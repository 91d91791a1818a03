"""Inputs of any number of channels and any shape: what becomes of an image, where its pixels come from, and what is shown."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional

from workers.actors.occlude import make_fill
from workers.core.display import decoded, display, eight_bit, undisplay
from workers.core.filters import pictures
from workers.core.inversion import Scale, sigma, start
from workers.core.preprocess import Preprocessing
from workers.core.receptive_field import Box
from workers.core.transform import rotate, transform_image
from workers.errors import ModelError
from workers.models.architectures import override
from workers.models.model import DEFAULT
from workers.spec.invariance import Border, Transform
from workers.spec.parts import Fill, Fit, Interpolation, ModelSpec

GREY = Preprocessing(36, 32, (0.4,), (0.2,), Interpolation.BILINEAR)
WIDE = {
    "short side": Preprocessing(40, (24, 36), (0, 0, 0), (1, 1, 1), Interpolation.NEAREST),
    "stretch": Preprocessing((24, 36), (24, 36), (0, 0, 0), (1, 1, 1), Interpolation.NEAREST),
    "stretch and crop": Preprocessing((30, 50), (24, 36), (0, 0, 0), (1, 1, 1), Interpolation.NEAREST),
    "cover": Preprocessing((27, 40), (24, 36), (0, 0, 0), (1, 1, 1), Interpolation.NEAREST, Fit.COVER),
    "letterbox": Preprocessing((24, 36), (24, 36), (0, 0, 0), (1, 1, 1), Interpolation.NEAREST, Fit.LETTERBOX, 255),
    "letterbox and crop": Preprocessing(
        (30, 40), (24, 36), (0, 0, 0), (1, 1, 1), Interpolation.NEAREST, Fit.LETTERBOX, 255
    ),
    "letterbox in a frame": Preprocessing(
        (15, 20), (24, 36), (0, 0, 0), (1, 1, 1), Interpolation.NEAREST, Fit.LETTERBOX, 255
    ),
}


@pytest.mark.parametrize("way", WIDE)
@given(height=st.integers(1, 240), width=st.integers(1, 240), y=st.integers(0, 23), x=st.integers(0, 35))
def test_a_source_box_holds_the_pixels_that_an_input_pixel_was_made_of(way, height, width, y, x):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(height)[:, None], np.arange(width)[None]
    prepared = WIDE[way].prepare(pixels, 10**8)
    assert prepared.shape == (3, 24, 36)
    box = WIDE[way].source_box(Box(y, x, y + 1, x + 1), height, width)
    inside = box.cut(height, width)
    if int(prepared[2, y, x]) == 255:  # padding
        assert inside.is_empty or way.startswith("letterbox")
        return
    assert inside.top <= int(prepared[0, y, x]) < inside.bottom
    assert inside.left <= int(prepared[1, y, x]) < inside.right


@pytest.mark.parametrize("way", [way for way in WIDE if way.startswith("letterbox")])
@given(height=st.integers(1, 240), width=st.integers(1, 240))
def test_padding_is_all_that_lies_outside_the_image(way, height, width):
    prepared = WIDE[way].prepare(np.zeros((height, width, 3), np.uint8), 10**8)
    new = WIDE[way].resized_size(height, width)
    top, left = WIDE[way].origin(height, width)
    seen = Box(-top, -left, new[0] - top, new[1] - left).cut(24, 36)
    wanted = torch.full((3, 24, 36), 255, dtype=torch.uint8)
    wanted[:, seen.top : seen.bottom, seen.left : seen.right] = 0
    assert torch.equal(prepared, wanted)


@pytest.mark.parametrize("way", WIDE)
@given(height=st.integers(2, 240), width=st.integers(2, 240), data=st.data())
def test_the_way_there_and_back_holds_the_box(way, height, width, data):
    top, left = data.draw(st.integers(0, height - 2)), data.draw(st.integers(0, width - 2))
    box = Box(top, left, data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width)))
    back = WIDE[way].source_box(WIDE[way].input_box(box, height, width), height, width)
    assert back.top <= box.top and back.left <= box.left and box.bottom <= back.bottom and box.right <= back.right


def test_crop_none_is_torchvisions_resize_of_both_sides():
    image = np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8)
    for preprocessing in (
        override(DEFAULT, ModelSpec(source="torchvision://resnet18", crop="none", resize=(40, 64))),
        override(DEFAULT, ModelSpec(source="torchvision://resnet18", crop=(40, 64), resize=(40, 64))),
    ):
        wanted = functional.resize(torch.from_numpy(image).permute(2, 0, 1), [40, 64], antialias=True)
        assert torch.equal(preprocessing.prepare(image, 10**8), wanted)


def test_an_image_of_the_inputs_size_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    kept = [
        way for way in WIDE if torch.equal(WIDE[way].prepare(image, 10**8), torch.from_numpy(image).permute(2, 0, 1))
    ]
    assert kept == ["stretch", "letterbox"]


def test_letterbox_pads_with_the_mean_or_a_value():
    image = np.full((20, 40, 3), 7, np.uint8)
    mean = override(DEFAULT, ModelSpec(source="torchvision://resnet18", pad="mean", resize=40))
    grey = override(DEFAULT, ModelSpec(source="torchvision://resnet18", pad=114, resize=40))
    bars = [
        torch.cat([each.prepare(image, 10**8)[:, :10], each.prepare(image, 10**8)[:, 30:]], 1) for each in (mean, grey)
    ]
    assert bars[0].flatten(1).unique(dim=1).tolist() == [[124], [116], [104]]
    assert bars[1].unique().tolist() == [114]
    assert mean.normalise(bars[0][None]).abs().max() < 0.01


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({}, (256, 224, Fit.STRETCH)),
        ({"crop": "none"}, ((224, 224), 224, Fit.STRETCH)),
        ({"crop": "none", "resize": (240, 320)}, ((240, 320), (240, 320), Fit.STRETCH)),
        ({"crop": (240, 320)}, (320, (240, 320), Fit.STRETCH)),
        ({"pad": 114, "resize": 640}, ((640, 640), 640, Fit.LETTERBOX)),
        ({"pad": "mean", "crop": (240, 320)}, ((240, 320), (240, 320), Fit.LETTERBOX)),
        ({"fit": "cover", "resize": (256, 340), "crop": (240, 320)}, ((256, 340), (240, 320), Fit.COVER)),
        ({"fit": "letterbox", "resize": (256, 256), "crop": 224}, ((256, 256), 224, Fit.LETTERBOX)),
    ],
)
def test_the_keys_of_a_spec_fit_together(given, sizes):
    made = override(DEFAULT, ModelSpec(source="torchvision://resnet18", **given))
    assert (made.resize, made.crop, made.fit) == sizes


@pytest.mark.parametrize(
    ("fit", "given", "sizes"),
    [
        ("letterbox", {"pad": 114}, ((256, 256), 224, Fit.LETTERBOX)),
        ("letterbox", {"fit": "letterbox", "crop": 240}, ((256, 256), 240, Fit.LETTERBOX)),
        ("letterbox", {"resize": (240, 320), "pad": 114}, ((240, 320), (240, 320), Fit.LETTERBOX)),
        ("letterbox", {"fit": "stretch"}, ((224, 224), 224, Fit.STRETCH)),
        ("stretch", {"fit": "stretch"}, ((256, 256), 224, Fit.STRETCH)),
        ("stretch", {"resize": 300, "crop": 280}, ((300, 300), 280, Fit.STRETCH)),
        ("stretch", {"resize": 300}, ((300, 300), 224, Fit.STRETCH)),
        ("stretch", {"resize": 300, "crop": 280, "fit": "cover"}, ((300, 300), 280, Fit.COVER)),
        ("cover", {"resize": 300}, ((300, 300), 224, Fit.COVER)),
    ],
)
def test_a_key_leaves_what_the_weights_give_for_the_others(fit, given, sizes):
    old = dataclasses.replace(DEFAULT, resize=(256, 256), fit=Fit(fit))
    made = override(old, ModelSpec(source="torchvision://resnet18", **given))
    assert (made.resize, made.crop, made.fit) == sizes


@pytest.mark.parametrize("way", WIDE)
def test_a_preprocessing_is_made_again_from_its_plain_values(way):
    for own in (WIDE[way], dataclasses.replace(WIDE[way], bits=16), GREY):
        assert override(DEFAULT, ModelSpec(source="torchvision://resnet18", **own.configuration())) == own


def test_runs_without_the_new_keys_keep_their_identity():
    spec = ModelSpec(source="torchvision://resnet18")
    assert set(spec.model_dump()) == {"source", "resize", "crop", "mean", "std", "interpolation", "classes", "kwargs"}
    assert set(DEFAULT.configuration()) == {"resize", "crop", "mean", "std", "interpolation"}
    assert set(ModelSpec(source="torchvision://resnet18", bits=16, pad=0).model_dump()) > {"bits", "pad"}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"mean": (0.5,)},
            "model.mean has length 1 and model.std length 3; give both one value for each channel",
        ),
        (
            {"mean": (0.5, 0.5), "std": (0.5, 0.5), "bits": 16},
            "bits 16 is supported for 1 and 3 channels; .* has 2 values",
        ),
        ({"fit": "stretch", "pad": 3}, "model.pad 3 needs model.fit letterbox: stretch pads nothing"),
        ({"fit": "cover", "pad": "mean"}, "model.pad mean needs model.fit letterbox: cover pads nothing"),
        ({"crop": "none", "fit": "cover"}, "model.crop none needs model.fit stretch or letterbox"),
        ({"resize": (240, 320), "crop": (320, 240)}, "model.crop 320 x 240 is larger than model.resize 240 x 320"),
    ],
)
def test_keys_that_do_not_fit_together_are_one_line(given, line):
    with pytest.raises(ModelError, match=line) as raised:
        override(DEFAULT, ModelSpec(source="torchvision://resnet18", **given))
    assert len(str(raised.value).splitlines()) == 1


def test_16_bits_are_resized_without_rounding_them_to_8():
    deep = np.random.default_rng(0).integers(0, 65536, (90, 70, 1), np.uint16)
    prepared = dataclasses.replace(GREY, bits=16).prepare(deep, 10**8)
    resized = np.asarray(
        Image.fromarray(deep[..., 0].astype(np.float32), "F").resize((36, 46), Image.Resampling.BILINEAR)
    )
    np.testing.assert_allclose(prepared[0].numpy() * 257, resized[7:39, 2:34], atol=1)
    assert prepared.dtype == torch.float32 and len(prepared.unique()) > 900
    flat = dataclasses.replace(GREY, bits=16).prepare(np.full((40, 40, 1), 26214, np.uint16), 10**8)  # 0.4 of 65535
    assert GREY.normalise(flat[None]).abs().max() < 1e-5


def test_one_channel_is_shown_as_grey_and_many_by_their_first_three():
    signal = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(np.float32)
    grey, scale = display(signal[:1])
    assert (grey == grey[..., :1]).all() and grey.shape == (4, 6, 3)
    np.testing.assert_allclose(undisplay(grey, scale)[0], signal[0], atol=scale / 100)
    many, scale = display(signal)
    assert scale == pytest.approx(float(np.abs(signal).max()))
    np.testing.assert_allclose(undisplay(many, scale), signal[:3], atol=scale / 100)
    pixels = torch.arange(4 * 2 * 3, dtype=torch.uint8).view(4, 2, 3)
    assert (eight_bit(pixels) == pixels[:3].permute(1, 2, 0).numpy()).all()
    assert (eight_bit(pixels[:2])[..., 2] == pixels[0].numpy()).all()
    deep = np.array([[[0], [128], [129], [65535]]], np.uint16)
    assert decoded(deep)[0, :, 1].tolist() == [0, 0, 1, 255]


def test_an_inversion_starts_as_loud_in_every_value_for_any_number_of_channels():
    one, three = (start((40, 60), [torch.Generator().manual_seed(0)], colours) for colours in (1, 3))
    assert one.shape == (1, 1, 40, 60)
    assert float(one.square().mean()) == pytest.approx(float(three.square().mean()), rel=1e-5)
    assert sigma(227, 227) == 27_098.0 and sigma(227, 227, 12) == pytest.approx(2 * 27_098.0)
    scale = Scale.of(GREY.mean, GREY.std)
    pixels = torch.rand(2, 1, 3, 3) * 255
    torch.testing.assert_close(scale.input(scale.centred(pixels)), GREY.normalise(pixels))


def test_kernels_of_one_channel_are_as_many_pictures():
    assert pictures(torch.randn(6, 1, 5, 3)).shape == (6, 5, 3, 1)


@pytest.mark.parametrize("border", Border)
@pytest.mark.parametrize("degrees", [0, 90, 180, 270, 360, 33.0])
def test_a_rectangle_turns_as_its_square_does(border, degrees):
    """A square whose sides are grey, against the rectangle in it, where the border is grey; and four quarters are none."""
    image = torch.rand(3, 24, 40, generator=torch.Generator().manual_seed(0)) * 255
    turned = rotate(image, degrees, border)
    assert turned.shape == image.shape
    if degrees in (0, 360):
        torch.testing.assert_close(turned, image, rtol=0, atol=1e-3)
    if border is Border.GREY:
        square = torch.full((3, 60, 60), 127.5)
        square[:, 18:42, 10:50] = image
        torch.testing.assert_close(turned, rotate(square, degrees, border)[:, 18:42, 10:50], rtol=0, atol=1e-3)


def test_a_rectangle_is_shifted_and_scaled_along_each_side():
    image = torch.rand(1, 12, 20) * 255
    assert torch.equal(transform_image(image, Transform.TRANSLATE_X, 3, Border.WRAP), image.roll(3, 2))
    assert torch.equal(transform_image(image, Transform.SCALE, 1.0, Border.EDGE), image)


@pytest.mark.parametrize("fill", Fill)
def test_a_wide_box_in_a_narrow_input_can_be_filled(fill):
    image = torch.rand(1, 10, 64) * 255
    assert make_fill(image, fill, 60).shape == image.shape
    assert torch.equal(make_fill(image, fill, 60), make_fill(image, fill, 10))


def test_the_memory_of_deep_images_is_that_of_floats():
    eight, sixteen = GREY, dataclasses.replace(GREY, bits=16)
    assert sixteen.input_bytes == 4 * eight.input_bytes == 4 * 32 * 32
    assert sixteen.prepare_bytes(64, 64) == 4 * (eight.prepare_bytes(64, 64) + 64 * 64)
    assert math.isclose(DEFAULT.input_bytes, 3 * 224**2)
