"""Signs of change by plain loops over pairs and units; parts that are planted agree, and random places do not."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.networks import seeded
from workers.core.correspondence import NOTHING, Signs, agreement, average, default_layers, hide, random_box, signs
from workers.core.graph import trace
from workers.core.invariance import features
from workers.core.network import Network
from workers.core.preprocess import Preprocessing
from workers.core.receptive_field import Box
from workers.spec.parts import Interpolation

SIDE = 48


def random_signs(images: int, units: int, seed: int) -> tuple[np.ndarray, list[Signs]]:
    random = np.random.default_rng(seed)
    values = random.integers(-1, 2, (images, units)) * (random.random(units) < 0.6)
    before = torch.ones(units, dtype=torch.float64)
    return values, [signs(before + torch.from_numpy(row), before) for row in values]


@pytest.mark.parametrize(("images", "units"), [(2, 1), (3, 8), (5, 77), (7, 200)])
def test_agreement_is_that_of_plain_loops(images, units):
    values, packed = random_signs(images, units, seed=images)
    found = agreement(packed)
    shares, among = [], []
    for i, j in itertools.combinations(range(images), 2):
        unequal = sum(values[i][u] != values[j][u] for u in range(units))
        changed = sum(values[i][u] != 0 or values[j][u] != 0 for u in range(units))
        shares.append(unequal / units)
        among += [unequal / changed] if changed else []
    assert (found.images, found.pairs) == (images, len(shares))
    assert found.delta == pytest.approx(sum(shares) / len(shares))
    assert found.delta_changed == pytest.approx(sum(among) / len(among)) if among else found.delta_changed is None
    assert found.changed_share == pytest.approx(np.mean(values != 0))
    assert found.std == (None if len(shares) < 2 else pytest.approx(np.std(shares, ddof=1)))
    left = [
        np.mean([np.mean(values[i] != values[j]) for i, j in itertools.combinations([k for k in range(images) if k != out], 2)])
        for out in range(images)
    ] if images > 2 else []  # fmt: skip
    expected = math.sqrt((images - 1) * np.var(left)) if left else None
    assert found.standard_error == (None if expected is None else pytest.approx(expected))


def test_the_order_of_images_changes_no_bit():
    _, packed = random_signs(6, 301, seed=9)
    assert len({agreement(list(order)) for order in itertools.permutations(packed)}) == 1


def test_a_sign_is_that_of_what_is_lost_and_rounding_has_none():
    before = torch.tensor([100.0, 5.0, 5.0, 5.0, 0.0, 5.0], dtype=torch.float64)
    after = torch.tensor([100.0, 3.0, 9.0, 5.0 + 9e-5, 0.0, 5.0 - 2e-4], dtype=torch.float64)
    found = signs(before, after)
    assert np.unpackbits(found.positive)[:6].tolist() == [0, 1, 0, 0, 0, 1]
    assert np.unpackbits(found.negative)[:6].tolist() == [0, 0, 1, 0, 0, 0]
    again = Signs.from_bytes(found.positive.tobytes(), found.negative.tobytes(), found.units)
    assert agreement([found, again]).delta == 0


def test_nothing_is_said_of_no_image_and_little_of_one():
    assert agreement([]) == average([]) == NOTHING
    one = agreement(random_signs(1, 9, seed=0)[1])
    assert (one.images, one.pairs, one.delta, one.std, one.standard_error, one.delta_changed) == (1, 0, *[None] * 4)
    still = signs(torch.ones(5), torch.ones(5))
    assert agreement([still, still]).delta == 0 and agreement([still, still]).delta_changed is None


def test_draws_are_averaged_and_their_deviation_is_told():
    drawn = [agreement(random_signs(4, 50, seed)[1]) for seed in range(3)]
    deltas = [each.delta for each in drawn]
    found = average(drawn)
    assert found.delta == pytest.approx(np.mean(deltas)) and found.std == pytest.approx(np.std(deltas, ddof=1))
    assert found.standard_error == pytest.approx(np.std(deltas, ddof=1) / math.sqrt(3))


def colours() -> Network:
    """Channels that weigh colours one way or another, averaged over the image: places mean nothing, nothing is cut at 0."""
    module = seeded(
        nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))
    )
    nn.init.constant_(module[0].get_parameter("bias"), 500.0)
    return Network(trace(module, (SIDE, SIDE)))


def test_planted_marks_agree_and_random_places_are_near_chance():
    network, box = colours(), Box(0, 0, 8, 8)
    random, chance = np.random.default_rng(3), torch.Generator().manual_seed(4)
    planted: list[Signs] = []
    scattered: list[Signs] = []
    for _ in range(12):
        pixels = torch.from_numpy(random.integers(90, 166, (3, SIDE, SIDE))).double()
        mark = random_box(box, (SIDE, SIDE), chance)
        pixels[:, mark.top : mark.bottom, mark.left : mark.right] = torch.tensor([255.0, 0.0, 40.0])[:, None, None]
        grey = torch.full_like(pixels, 127.5)
        [before] = features(network, pixels[None], [4])
        for place, into in ((mark, planted), (_apart(box, mark, chance), scattered)):
            [after] = features(network, hide(pixels, place, grey)[None], [4])
            into.append(signs(before, after))
    assert agreement(planted).delta < 0.02
    assert 0.4 < agreement(scattered).delta < 0.6
    assert min(agreement(planted).changed_share, agreement(scattered).changed_share) > 0.9


def _apart(box: Box, mark: Box, chance: torch.Generator) -> Box:
    while True:
        place = random_box(box, (SIDE, SIDE), chance)
        cut = Box(
            max(place.top, mark.top),
            max(place.left, mark.left),
            min(place.bottom, mark.bottom),
            min(place.right, mark.right),
        )
        if cut.height <= 0 or cut.width <= 0:
            return place


def test_random_places_are_inside_reach_every_corner_and_are_the_same_for_the_same_chance():
    places = [random_box(Box(3, 4, 5, 7), (6, 6), torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert {(each.top, each.left) for each in places} == {(y, x) for y in range(5) for x in range(4)}
    assert {(each.height, each.width) for each in places} == {(2, 3)}
    assert random_box(Box(0, 0, 6, 6), (6, 6), torch.Generator()) == Box(0, 0, 6, 6)
    small, large = (
        random_box(Box(0, 0, side, side), (160, 160), torch.Generator().manual_seed(5)) for side in (30, 32)
    )
    assert abs(small.top - large.top) <= 2 and abs(small.left - large.left) <= 2


def test_only_the_box_is_hidden_and_the_image_stays():
    pixels = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
    found = hide(pixels, Box(1, 2, 3, 4), torch.full((3, 4, 4), 127.5))
    for (channel, y, x), value in np.ndenumerate(found.numpy()):
        assert value == (127.5 if 1 <= y < 3 and 2 <= x < 4 else pixels[channel, y, x])
    assert torch.equal(pixels, torch.arange(48, dtype=torch.uint8).view(3, 4, 4))


@pytest.mark.parametrize(("height", "width"), [(334, 290), (100, 300), (160, 160), (37, 41)])
def test_boxes_go_to_the_input_and_back_without_losing_a_pixel(height, width):
    preprocessing = Preprocessing(182, 160, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), Interpolation.BILINEAR)
    random = np.random.default_rng(height)
    tall, wide = preprocessing.resized_size(height, width)
    top, left = preprocessing.origin(height, width)
    for _ in range(50):
        y, x = int(random.integers(height)), int(random.integers(width))
        box = Box(y, x, y + int(random.integers(1, height - y + 1)), x + int(random.integers(1, width - x + 1)))
        found = preprocessing.input_box(box, height, width)
        assert _holds(preprocessing.source_box(found, height, width), box)
        # By fractions of the source: the box's edges, moved by the crop, and no more than a pixel outward.
        rows = [edge * tall / height - top for edge in (box.top, box.bottom)]
        columns = [edge * wide / width - left for edge in (box.left, box.right)]
        outward = [rows[0] - found.top, columns[0] - found.left, found.bottom - rows[1], found.right - columns[1]]
        assert all(-1e-9 <= each < 1 for each in outward)


def _holds(outer: Box, inner: Box) -> bool:
    return (
        outer.top <= inner.top
        and outer.left <= inner.left
        and outer.bottom >= inner.bottom
        and outer.right >= inner.right
    )


def test_the_papers_layers_are_the_last_rectified_convolution_and_the_last_rectified_layer():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(4 * 144, 5), nn.ReLU(), nn.Linear(5, 2),
    )  # fmt: skip
    network = Network(trace(seeded(module), (16, 16)))
    assert default_layers(network) == [network.layers[3].name, network.layers[6].name]
    alone = Network(trace(seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())), (16, 16)))
    assert default_layers(alone) == [alone.layers[1].name]
