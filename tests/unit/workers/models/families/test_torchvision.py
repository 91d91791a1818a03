"""Torchvision's segmentation networks and detectors: names, numbers, weights and preprocessing, against torchvision's modules."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.ops import FrozenBatchNorm2d

from workers.core.graph import trace
from workers.core.network import Network
from workers.errors import ModelError
from workers.models import architectures
from workers.models.families import detectors
from workers.models.families.torchvision import Torchvision, names, segmenters
from workers.models.model import load, outline
from workers.spec.parts import ModelSpec

SIDE = 64
LARGE = {"ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 96}
FAST = ("fasterrcnn_mobilenet_v3_large_320_fpn", "lraspp_mobilenet_v3_large")


def whole(name: str, **kwargs: int) -> Any:
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, weights_backbone=None, **kwargs)
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return module.eval().requires_grad_(False)


def small(name: str) -> dict[str, int]:
    side = LARGE.get(name, SIDE)
    return {"resize": side, "crop": side}


def maps_of(module: Any, images: Tensor) -> dict[str, Tensor]:
    """The output of every convolution and pooling of a module, by its name, at its first call."""
    maps: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        maps.setdefault(name, output.clone())  # a hook that returned the clone would let in-place rectifiers change it

    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, part in module.named_modules()
        if isinstance(part, nn.Conv2d | nn.MaxPool2d)
    ]
    (module.backbone if hasattr(module, "rpn") or hasattr(module, "anchor_generator") else module)(images)
    for hook in hooks:
        hook.remove()
    return maps


def cases() -> list:
    return [
        pytest.param(name, id=name, marks=() if name in FAST else pytest.mark.slow)
        for name in (*segmenters(), *sorted(detectors.names()))
    ]


@pytest.mark.parametrize("name", cases())
def test_every_map_of_torchvisions_module_is_a_layer_of_that_name_bit_for_bit(name, tmp_path):
    module = whole(name)
    torch.save(module.state_dict(), tmp_path / "w.pth")
    model = load(ModelSpec(source=f"torchvision://{name}?weights={tmp_path / 'w.pth'}", **small(name)))
    images = torch.rand(2, 3, LARGE.get(name, SIDE), LARGE.get(name, SIDE))
    layers = {layer.name: layer.node for layer in model.network.layers}
    with torch.inference_mode():
        expected = maps_of(module, images)
        assert len(expected) > 10 and not set(expected) - set(layers)
        names = {layers[layer]: layer for layer in expected}
        seen: list[str] = []

        def visit(node: int, _: object, value: Tensor) -> None:
            seen.append(names[node])
            assert torch.equal(value, expected[names[node]]), names[node]

        model.network.forward(images, list(names), visit)
    assert set(seen) == set(expected)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("fasterrcnn_resnet50_fpn", ("backbone.body.layer1.0.relu_2", "backbone.fpn.inner_blocks.0.0")),
        ("lraspp_mobilenet_v3_large", ("backbone.0.0", "classifier.low_classifier")),
    ],
)
def test_its_layers_have_the_names_of_torchvisions_feature_extraction(name, layers):
    module = Torchvision().build(name, {})
    network = Network(trace(module.eval(), (SIDE, SIDE)))
    assert not set(layers) - {layer.name for layer in network.layers}
    assert not next(layer for layer in network.layers if layer.name == layers[0]).obstacle


def test_a_detector_of_any_number_of_classes_is_loaded_without_its_heads_and_that_is_said(tmp_path):
    name = FAST[0]
    module = whole(name, num_classes=7)
    torch.save(module.state_dict(), tmp_path / "w.pth")
    model = load(ModelSpec(source=f"torchvision://{name}?weights={tmp_path / 'w.pth'}", **small(name)))
    assert model.notes == ("the weights of roi_heads and rpn were not used",)
    assert model.stored.class_names == ()
    for key, tensor in model.module.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[key]), key


def test_the_classes_of_a_segmentation_network_come_from_the_file_and_its_auxiliary_head_is_left_over(tmp_path):
    module = whole("deeplabv3_mobilenet_v3_large", num_classes=5, aux_loss=True)
    torch.save(module.state_dict(), tmp_path / "w.pth")
    source = f"torchvision://deeplabv3_mobilenet_v3_large?weights={tmp_path / 'w.pth'}"
    network = load(ModelSpec(source=source, resize=SIDE, crop=SIDE)).network
    assert network.nodes[network.output].shape == (5, SIDE, SIDE)


@pytest.mark.parametrize("name", sorted(detectors.names()))
def test_batch_norms_have_the_epsilon_that_torchvision_gives_them(name, monkeypatch):
    """Torchvision builds its module with its own weights; only the download and the copy of the numbers are left out."""
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    for weights in torchvision.models.get_model_weights(name):
        kwargs = dict(Torchvision().entry(name, weights.name).kwargs)
        with torch.device("meta"):
            theirs = torchvision.models.get_model(name, weights=weights).backbone
            ours = Torchvision().build(name, kwargs)
        assert epsilons(ours) == {f"backbone.{part}": epsilon for part, epsilon in epsilons(theirs).items()}


def epsilons(module: nn.Module) -> dict[str, float]:
    norms = nn.BatchNorm2d | FrozenBatchNorm2d
    return {name: part.eps for name, part in module.named_modules() if isinstance(part, norms)}


def test_a_detectors_images_have_the_scale_and_the_colours_that_torchvision_gives_them():
    for name in sorted(detectors.names()):
        with torch.device("meta"):
            transform = torchvision.models.get_model(name, weights=None, weights_backbone=None).transform.eval()
        ours = Torchvision().entry(name, "w.pth").preprocessing
        square = torch.rand(3, 500, 500, generator=torch.Generator().manual_seed(0))
        [image] = transform([square])[0].tensors
        side = ours.size[0] if transform.fixed_size else -(-ours.size[0] // 32) * 32
        assert image.shape == (3, side, side)
        wanted = transform.normalize(square)
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (ours.mean, ours.std))
        torch.testing.assert_close((square - mean) / std, wanted)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("torchvision://fasterrcnn_resnet5_fpn", "no model torchvision://fasterrcnn_resnet5_fpn; nearest: fasterrcnn_"),
        ("torchvision://fcn_resnet50?weights=IMAGENET1K_V1", "no weights 'IMAGENET1K_V1' for fcn_resnet50"),
        ("torchvision://ssd300_vgg16?weights=none.pth", "weights 'none.pth' cannot be read"),
    ],
)
def test_what_does_not_exist_is_one_line(source, line):
    with pytest.raises(ModelError, match=line):
        load(ModelSpec(source=source))


def test_weights_of_another_network_are_one_line(tmp_path):
    torch.save(nn.Conv2d(3, 4, 3).state_dict(), tmp_path / "w.pth")
    source = f"torchvision://{FAST[0]}?weights={tmp_path / 'w.pth'}"
    with pytest.raises(ModelError, match=r"the weights do not fit .*missing \(backbone\.body"):
        load(ModelSpec(source=source))


def test_an_outline_of_a_detector_needs_no_weights():
    network = outline(ModelSpec(source=f"torchvision://{FAST[0]}", resize=SIDE, crop=SIDE))
    assert network.select(["auto"])[0].name.startswith("backbone.body.0.")


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_the_size_of_every_network_is_known_before_its_weights_are_allocated(name):
    state = architectures.outline(architectures.resolve(ModelSpec(source=f"torchvision://{name}?weights=FILE.pth"))[0])
    assert (
        sum(tensor.nbytes for tensor in state.values() if tensor.device.type != "meta") < 2 << 20
    )  # tables of positions
