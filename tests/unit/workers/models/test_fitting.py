"""Checkpoints as people have them: other prefixes, other heads, more than weights; each is loaded by the one obvious source."""

import argparse
from collections import OrderedDict
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from workers.errors import ModelError
from workers.models.model import Model, load
from workers.spec.parts import ModelSpec

CLASSES = 20


def finetuned(name: str = "resnet18", classes: int = CLASSES) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, num_classes=classes).eval()


def loaded(path: Path, name: str = "resnet18") -> Model:
    return load(ModelSpec(source=f"torchvision://{name}?weights={path}"))


def require_same(model: Model, module: nn.Module) -> None:
    for key, tensor in module.state_dict().items():
        assert torch.equal(model.module.state_dict()[key], tensor), key


def test_the_number_of_classes_comes_from_the_file(tmp_path):
    module = finetuned()
    torch.save(module.state_dict(), tmp_path / "w.pth")
    model = loaded(tmp_path / "w.pth")
    require_same(model, module)
    assert model.network.layers[-1].channels == CLASSES and model.notes == () and model.stored.class_names == ()


@pytest.mark.parametrize(
    "name",
    ["alexnet", "squeezenet1_1", "googlenet", "efficientnet_b0", "convnext_tiny", "mnasnet0_5", "regnet_x_400mf"],
)
def test_so_it_does_for_every_kind_of_head(tmp_path, name):
    kwargs = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    module = torchvision.models.get_model(name, weights=None, num_classes=7, **kwargs).eval()
    torch.save(module.state_dict(), tmp_path / "w.pth")
    assert loaded(tmp_path / "w.pth", name).network.layers[-1].channels == 7


@pytest.mark.parametrize("prefix", ["module.", "model.", "net.", "_orig_mod.", "module._orig_mod.", "model.backbone."])
@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_a_prefix_is_stripped_and_said(tmp_path, prefix, form):
    module, path = finetuned(), tmp_path / f"w.{form}"
    state = {f"{prefix}{key}": tensor for key, tensor in module.state_dict().items()}
    save_file(state, path) if form == "safetensors" else torch.save(state, path)
    model = loaded(path)
    require_same(model, module)
    assert model.notes == (f"the prefix {prefix!r} was removed from the keys",)


def test_a_lightning_checkpoint_with_its_metrics_is_read(tmp_path):
    module = finetuned()
    state = {f"model.{key}": tensor for key, tensor in module.state_dict().items()} | {"loss.weight": torch.ones(2)}
    path = tmp_path / "epoch=3.ckpt"
    torch.save(
        {"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2"}, path
    )
    model = loaded(path)
    require_same(model, module)
    assert model.notes == (
        "the weights are those under 'state_dict'",
        "the prefix 'model.' was removed from the keys",
        "1 other keys were not used (loss.weight)",
    )


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "ema"])
def test_what_training_runs_store_beside_weights_does_no_harm(tmp_path, key):
    module = finetuned()
    beside = {
        "args": argparse.Namespace(lr=0.1, out=PurePosixPath("runs/x")),
        "best": np.float64(0.7),
        "step": np.int64(7),
        "epoch": 3,
    }
    torch.save({**beside, key: module.state_dict()}, tmp_path / "w.pth")
    model = loaded(tmp_path / "w.pth")
    require_same(model, module)
    assert model.notes == (f"the weights are those under {key!r}",)


def test_keys_of_old_densenet_checkpoints_are_renamed(tmp_path):
    module = finetuned("densenet121")
    renamed = OrderedDict((old(key), tensor) for key, tensor in module.state_dict().items())
    assert "features.denseblock1.denselayer1.norm.1.weight" in renamed
    torch.save(renamed, tmp_path / "w.pth")
    model = loaded(tmp_path / "w.pth", "densenet121")
    require_same(model, module)
    assert model.notes == ("keys of an old DenseNet checkpoint were renamed",)


def old(key: str) -> str:
    parts = key.split(".")
    if "denselayer" not in key:
        return key
    return ".".join([*parts[:3], parts[3][:-1], parts[3][-1], *parts[4:]])


def test_a_checkpoint_of_another_network_is_one_line(tmp_path):
    torch.save(finetuned("resnet34").state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"the weights do not fit 'torchvision://resnet18.*: \d+ unused") as raised:
        loaded(tmp_path / "w.pth")
    assert "\n" not in str(raised.value)


def test_a_pickled_module_is_refused_with_the_safe_way(tmp_path):
    torch.save(finetuned(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"loading them would run code; write it with torch.save\(model.state_dict"):
        loaded(tmp_path / "w.pth")


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path):
    state: dict[str, object] = {"x": torch.ones(1), "y": 3}
    state["model"] = state
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="does not contain a mapping from names to tensors"):
        loaded(tmp_path / "w.pth")
