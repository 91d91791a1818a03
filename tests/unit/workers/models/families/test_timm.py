"""Timm's networks: its modules, its preprocessing, files of weights, and one line for whatever is not to be had."""

import importlib
import sys

import pytest
import torch

from workers.errors import ModelError
from workers.models.families.timm import Timm
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


def test_layers_need_no_weights():
    assert [layer.name for layer in outline(ModelSpec(source="timm://test_resnet.r160_in1k")).layers][-1] == "fc"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("timm://resnet1888", "no model timm://resnet1888; nearest: resnet18"),
        ("timm://resnet18.nosuch", r"no weights timm://resnet18.nosuch; nearest: resnet18\."),
        ("timm://resnet18?weights=none.pth", "weights '.*none.pth' cannot be read"),
        ("timm://coat_lite_medium_384.in1k?weights=w.pth", "crops images by timm's mode 'squash'; only 'center'"),
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
