"""Timm's networks: its modules, its preprocessing, files of weights, and one line for whatever is not to be had."""

import importlib
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from workers.errors import ModelError
from workers.models.families.timm import Timm, preprocessing_of
from workers.models.model import load, outline
from workers.spec.parts import Interpolation, ModelSpec

timm = pytest.importorskip("timm")


def test_a_file_of_weights_is_loaded_with_its_own_number_of_classes(tmp_path):
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=7).eval()
    torch.save(module.state_dict(), tmp_path / "w.pth")
    model = load(ModelSpec(source=f"timm://test_resnet?weights={tmp_path / 'w.pth'}"))
    images, seen = torch.rand(2, 3, 160, 160), list[torch.Tensor]()
    with torch.inference_mode():
        model.network.forward(images, [model.network.output], lambda _, __, value: seen.append(value))
        assert torch.equal(seen[0].flatten(1), module(images)) and seen[0].shape[1] == 7
    assert (model.preprocessing.crop, model.preprocessing.interpolation) == (160, Interpolation.BILINEAR)


def test_its_preprocessing_is_that_of_timms_own_transform():
    data = importlib.import_module("timm.data")

    for name in ("resnet50.a1_in1k", "convnext_tiny.in12k", "tf_efficientnet_b0.in1k", "inception_v3.tv_in1k"):
        ours = Timm().entry(name, "w.pth").preprocessing
        config = data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        resize, crop, *_, normalize = data.create_transform(**config).transforms
        assert (ours.resize, ours.crop) == (resize.size, crop.size[0]), name
        assert ours.interpolation.value == resize.interpolation.value, name
        assert torch.equal(torch.tensor(ours.mean), normalize.mean) and torch.equal(
            torch.tensor(ours.std), normalize.std
        )


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(
    ("size", "share"), [((3, 48, 48), 1.0), ((3, 48, 48), 0.9), ((3, 48, 64), 0.875), ((1, 40, 30), 1.0)]
)
def test_every_crop_mode_and_shape_is_that_of_timms_own_transform(mode, size, share):
    data = importlib.import_module("timm.data")
    means = (0.5, 0.4, 0.3)[: size[0]]
    config = {
        "input_size": size,
        "crop_pct": share,
        "crop_mode": mode,
        "interpolation": "bicubic",
        "mean": means,
        "std": means,
    }
    ours, theirs = preprocessing_of("timm://any", config), data.create_transform(**config)
    assert ours.channels == size[0]
    for height, width in ((90, 61), (61, 90), (70, 70), (300, 40)):
        ramp = np.add.outer(np.arange(height) / height, np.arange(width) / width) * 127
        pixels = np.repeat(ramp[..., None], size[0], 2).astype(np.uint8)
        image = Image.fromarray(pixels if size[0] == 3 else pixels[..., 0])
        wanted, actual = theirs(image), ours.normalise(ours.prepare(pixels, 10**8)[None])[0]
        steps = float((wanted - actual).abs().max()) * min(means) * 255
        assert round(steps, 3) <= 2  # rounded differently, but nowhere shifted


def test_weights_of_one_channel_are_loaded_and_the_others_named(tmp_path):
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", in_chans=1).eval()
    torch.save(module.state_dict(), tmp_path / "w.pth")
    source = f"timm://test_resnet?weights={tmp_path / 'w.pth'}"
    model = load(ModelSpec(source=source, mean=(0.5,), std=(0.25,), crop=(96, 64), resize=(96, 64)))
    assert model.network.nodes[0].shape == (1, 96, 64)
    with pytest.raises(
        ModelError, match=r"takes images of 1 channel, but model\.mean has 3 values; give model\.mean and .* 1 value$"
    ):
        load(ModelSpec(source=source))


def test_layers_need_no_weights():
    assert [layer.name for layer in outline(ModelSpec(source="timm://test_resnet.r160_in1k")).layers][-1] == "fc"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("timm://resnet1888", "no model timm://resnet1888; nearest: resnet18"),
        ("timm://resnet18.nosuch", r"no weights timm://resnet18.nosuch; nearest: resnet18\."),
        ("timm://resnet18?weights=none.pth", "weights '.*none.pth' cannot be read"),
        ("timm://dla46_c?weights=", "dla46_c.*cannot be downloaded|no weights"),
    ],
)
def test_what_is_not_to_be_had_is_one_line(source, line, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(timm, "create_model", refuse_downloads(timm.create_model))
    with pytest.raises(ModelError, match=line) as raised:
        load(ModelSpec(source=source))
    assert len(str(raised.value).splitlines()) == 1


def refuse_downloads(create):
    """Timm's constructor, on a machine without a network."""

    def create_model(name, pretrained=False, **more):
        if pretrained:
            raise OSError("the Hub is not reachable")
        return create(name, pretrained=pretrained, **more)

    return create_model


def test_without_timm_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"timm is not installed: pip install 'deconvoy\[timm\]'"):
        load(ModelSpec(source="timm://resnet18"))
