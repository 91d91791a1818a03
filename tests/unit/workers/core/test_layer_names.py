"""Published names do not change: networks have the layers, shapes and fields that they had when torch.fx traced them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torchvision

from tests.support import corpora
from workers.core.graph import trace
from workers.core.network import Network
from workers.models.families.torchvision import BARE, INCEPTIONS

TABLE = json.loads((Path(corpora.__file__).parent / "layer_names.json").read_text())["networks"]
QUICK = ("alexnet", "squeezenet1_1", "resnet18", "googlenet", "mobilenet_v2", "regnet_x_400mf")
CASES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in TABLE]


def layers_of(name: str) -> Network:
    kwargs: dict[str, Any] = dict(BARE) if name in INCEPTIONS else {}
    side = next(iter(torchvision.models.get_model_weights(name))).transforms().crop_size[0]
    return Network(trace(torchvision.models.get_model(name, weights=None, **kwargs).eval(), (side, side)))


@pytest.mark.parametrize("name", CASES)
def test_layers_have_the_names_shapes_and_fields_that_torch_fx_gave(name):
    network = layers_of(name)
    lines = [
        f"{layer.name} {layer.kind} {layer.channels} {layer.height} {layer.width} "
        f"{layer.field.rows.step} {layer.field.rows.start} {layer.field.rows.size}"
        for layer in network.layers
    ]
    assert [layer.name for layer in network.layers] == TABLE[name].get("names", [each.name for each in network.layers])
    assert len(lines) == TABLE[name]["layers"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == TABLE[name]["sha256"]
