"""Distances of features: none where the network is made so that there can be none, and the plain numbers elsewhere."""

import pytest
import torch
from torch import nn

from tests.support.networks import Tangled, seeded
from workers.core.graph import trace
from workers.core.invariance import look, moved, usual_layers
from workers.core.network import Network
from workers.core.transform import translated
from workers.spec.invariance import Border

SHIFTS = [(0, 0), (1, 0), (0, -5), (7, 3), (-11, 8)]


def network(module: nn.Module, side: int = 16) -> Network:
    return Network(trace(module, (side, side)))


def blind() -> nn.Module:
    """Sees colours and no places: whatever moves round the image, its mean stays."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 5, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
    )


def shifted(seed: int = 0) -> tuple[torch.Tensor, list[torch.Tensor]]:
    pixels = torch.randint(0, 256, (3, 16, 16), generator=torch.Generator().manual_seed(seed))
    return pixels[None].double(), [translated(pixels, *shift, Border.WRAP)[None].double() for shift in SHIFTS]


def test_a_network_that_is_blind_for_places_sees_no_shift_and_its_first_layer_does():
    one, images = network(seeded(blind())), shifted()
    found = list(moved(one, *images, [2, 5, 7]))
    for number, each in enumerate(found):
        assert each.relative[1] == pytest.approx(0, abs=1e-12) and each.relative[2] == pytest.approx(0, abs=1e-12)
        assert torch.allclose(each.probabilities, found[0].probabilities, atol=1e-12)
        assert (each.relative[0] > 0.1) == (number > 0)
    assert found[0].distances == (0.0, 0.0, 0.0)


def test_a_network_that_is_not_blind_sees_every_shift_in_every_layer():
    one = network(seeded(Tangled()))
    numbers = [layer.node for layer in one.select(usual_layers(one))]
    found = list(moved(one, *shifted(), numbers))
    assert found[0].distances == (0.0,) * len(numbers)
    assert all(distance > 1e-3 for each in found[1:] for distance in each.distances)


def test_distances_and_probabilities_are_those_of_the_module():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    module = seeded(module)
    original, images = shifted()
    for image, each in zip(images, moved(network(module), original, images, [2, 4]), strict=True):
        for number, stop in enumerate((2, 4)):
            before, after = module[:stop](original), module[:stop](image)
            distance = (
                sum((a - b) ** 2 for a, b in zip(after.flatten().tolist(), before.flatten().tolist(), strict=True))
                ** 0.5
            )
            norm = sum(value**2 for value in before.flatten().tolist()) ** 0.5
            assert each.distances[number] == pytest.approx(distance)
            assert each.relative[number] == pytest.approx(distance / norm)
        assert torch.allclose(each.probabilities, module(image)[0].softmax(0))


def test_features_that_are_all_zero_have_no_relative_distance():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 16 * 16, 2)).double()
    for parameter in module[0].parameters():
        nn.init.constant_(parameter, -1.0)
    original, images = shifted()
    found = list(moved(network(module), original, images, [2]))
    assert [(each.distances, each.relative) for each in found] == [((0.0,), (None,))] * len(SHIFTS)


def test_the_usual_layers_are_the_first_and_last_rectified_ones_and_the_output():
    one = network(seeded(blind()))
    assert usual_layers(one) == [one.layers[1].name, one.layers[3].name, one.layers[-1].name]
    single = network(seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())))
    assert usual_layers(single) == [single.layers[1].name]
    features, _ = look(one, shifted()[0], [2])
    assert features[0].shape == (8 * 16 * 16,) and features[0].dtype == torch.float64
