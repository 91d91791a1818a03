"""What half precision costs a scan, and when a sample is too small to tell."""

import numpy as np
import pytest

from jobs.precision import compare
from workers.core.agreement import TOP
from workers.core.channel_fields import ChannelFields
from workers.core.network import Layer
from workers.core.receptive_field import Field, Span

CHANNELS = 3
LAYER = Layer(
    0,
    0,
    "relu",
    "rectifier",
    CHANNELS,
    7,
    7,
    ChannelFields.alike(Field(Span(1, 0, 3), Span(1, 0, 3)), CHANNELS),
    auto=True,
)


def compared(images: int):
    exact = np.random.default_rng(0).random((images, CHANNELS), np.float32)
    return compare([LAYER], exact, 1 - exact)


@pytest.mark.parametrize("images", [0, 1, TOP])
def test_a_sample_in_which_no_best_images_can_differ_has_no_share(images):
    cost = compared(images)
    facts = cost.facts([LAYER], {})
    assert (facts.images, facts.share) == (images, None)
    assert cost.finding.startswith(f"too few images to compare with float32: {images} of the sample could be used")


def test_one_image_more_has_a_share():
    cost = compared(TOP + 1)
    assert cost.facts([LAYER], {}).share == 1  # the order is reversed, so another image is the last one
    assert cost.finding == "3 of 3 channels have different top-9 images than in float32, in a sample of 10 images"
