"""Resizing, bit for bit against torchvision's."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from workers.core import resizing
from workers.core.resizing import resize
from workers.spec.parts import Interpolation

SIZES = [
    ((37, 53), (16, 24)),
    ((16, 24), (37, 53)),
    ((40, 40), (40, 40)),
    ((1, 90), (1, 9)),
    ((500, 375), (341, 256)),
    ((9, 9), (3, 27)),
]


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("interpolation", Interpolation)
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_pixels_and_their_order_are_torchvisions(before, after, interpolation, last, channels, kind):
    pixels = torch.randint(256, (*before, channels), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image = pixels.permute(2, 0, 1).to(kind)
    image = image if last else image.contiguous()
    mode = InterpolationMode(interpolation.value)
    expected = functional.resize(image, list(after), interpolation=mode, antialias=True)
    resized = resize(image, after, interpolation)
    assert torch.equal(resized, expected) and resized.dtype == expected.dtype
    assert channels == 1 or resized.stride() == expected.stride()


@pytest.mark.parametrize("interpolation", [Interpolation.BILINEAR, Interpolation.BICUBIC])
def test_processors_without_fast_instructions_round_what_float32_gives(interpolation, monkeypatch):
    image = torch.randint(256, (3, 50, 60), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    expected = functional.resize(image, [21, 33], interpolation=InterpolationMode(interpolation.value), antialias=True)
    assert torch.equal(resize(image, (21, 33), interpolation), expected)
    assert resizing._resizes_bytes(interpolation) == (interpolation is Interpolation.BICUBIC)
