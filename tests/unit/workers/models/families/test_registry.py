"""A family of networks is one registered object and one scheme: one that only this test knows is named, built and loaded."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from jobs.run import identity
from service.cli.main import app
from service.control import uploads
from service.http.places import Allowed
from workers.core.preprocess import Preprocessing
from workers.errors import ModelError, RefusedError, SpecError
from workers.models import model as models
from workers.models.families import registry
from workers.models.families.family import IMAGENET_MEAN, IMAGENET_STD, WeightsEntry
from workers.models.fingerprints import fingerprint
from workers.spec import families
from workers.spec.families import Scheme
from workers.spec.filters import FiltersRun
from workers.spec.make import make
from workers.spec.parts import Interpolation, ModelSpec
from workers.spec.scan import make_spec
from workers.spec.toml import read_toml
from workers.store.root import Root

TOY = Scheme("toy", "toy://stripes", own_weights=r"ones|zeros")


class ToyFamily:
    """`toy://stripes`, whose weights are all one, all zero, or a file's."""

    scheme = TOY

    def entry(self, name, weights):
        if name != "stripes":
            raise ModelError(f"no model toy://{name}")
        preprocessing = Preprocessing(24, 16, IMAGENET_MEAN, IMAGENET_STD, Interpolation.BILINEAR)
        if weights and not self.scheme.owns(weights):
            return WeightsEntry(preprocessing, (), weights)
        fill = torch.zeros_like if weights == "zeros" else torch.ones_like
        return WeightsEntry(preprocessing, ("cat", "dog"), None, lambda: weights_of(2, fill))

    def build(self, name, kwargs):
        assert name == "stripes"
        classes = dict(kwargs).get("classes", 2)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, classes)
        )

    def implied_kwargs(self, name, state):
        assert name == "stripes"
        return {"classes": len(state["4.bias"])}


def weights_of(classes, fill=torch.ones_like):
    return {
        name: fill(tensor) for name, tensor in ToyFamily().build("stripes", {"classes": classes}).state_dict().items()
    }


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """One line has been added to each registry."""
    monkeypatch.setattr(families, "SCHEMES", (*families.SCHEMES, TOY))
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, ToyFamily()))


@pytest.fixture
def file(tmp_path) -> Path:
    save_file(weights_of(5), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_the_families_that_are_built_are_those_that_are_named():
    assert [family.scheme for family in registry.FAMILIES] == list(families.SCHEMES)
    names = [scheme.name for scheme in families.SCHEMES]
    assert len(set(names)) == len(names)
    assert all(families.find_scheme(scheme.example) is scheme for scheme in families.SCHEMES)


def test_its_network_is_loaded_with_its_own_weights_and_restored_on_a_node(tmp_path):
    model = models.load(ModelSpec(source="toy://stripes"))
    assert [layer.name for layer in model.network.layers] == ["0", "1", "2", "3", "4"]
    assert (model.stored.class_names, model.preprocessing.crop) == (("cat", "dog"), 16)
    root = Root(str(tmp_path / "root"))
    assert fingerprint(models.restore(models.store(model, root), root).nodes) == model.fingerprint
    zeros = models.load(ModelSpec(source="toy://stripes?weights=zeros"))
    assert zeros.fingerprint != model.fingerprint and not any(tensor.any() for tensor in zeros.module.parameters())


def test_a_file_of_weights_gives_the_arguments_that_follow_from_it(file):
    model = models.load(ModelSpec(source=f"toy://stripes?weights={file}"))
    assert model.network.nodes[-1].shape[0] == 5 and model.module.state_dict()["4.bias"].shape == (5,)
    with pytest.raises(ModelError, match=r"4.weight has shape \(5, 36\) instead of \(7, 36\)"):
        models.load(ModelSpec(source=f"toy://stripes?weights={file}", kwargs={"classes": 7}))


def test_what_is_unknown_is_refused_with_an_example_of_every_family():
    with pytest.raises(
        SpecError, match=r"write deconvoy://zfnet-mini, torchvision://\S+, timm://\S+, hf-hub:\S+ or toy://stripes"
    ):
        make(ModelSpec, {"source": "toys://stripes"})
    with pytest.raises(SpecError, match=r"'latest' is not a valid parameter"):
        make(ModelSpec, {"source": "toy://stripes?latest"})
    with pytest.raises(ModelError, match="no model toy://dots"):
        models.load(ModelSpec(source="toy://dots"))


def test_the_command_prints_its_layers_and_finds_its_weights(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    done = CliRunner().invoke(app, ["layers", "toy://stripes?weights=w.safetensors", "--json"])
    assert [layer["channels"] for layer in json.loads(done.stdout)] == [4, 4, 4, 36, 5]


def test_a_file_of_weights_is_a_place_and_a_word_of_its_own_is_none(file):
    text = '[model]\nsource = "toy://stripes?weights={}"\n'
    for word in ("ones", "zeros"):
        model = read_toml(text.format(word), Path("/specs"))["model"]
        assert model["source"] == f"toy://stripes?weights={word}"
        Allowed(()).check_spec(make(FiltersRun, {"root": "/atlas", "models": [model]}))
    model = read_toml(text.format("w.pt"), Path("/specs"))["model"]
    assert model["source"] == "toy://stripes?weights=/specs/w.pt"
    with pytest.raises(RefusedError, match=r"weights '/specs/w.pt' is refused"):
        Allowed(()).check_spec(make(FiltersRun, {"root": "/atlas", "models": [model]}))
    asked = {"root": "memory://uploads", "model": {"source": f"toy://stripes?weights={file}"}}
    brought = uploads.upload(asked, "http://head.example:8265")["model"]["source"]
    assert brought.startswith("toy://stripes?weights=memory://") and brought.endswith("/w.safetensors")


def test_a_run_is_named_after_its_network():
    spec = make_spec({"root": "r", "model": {"source": "toy://stripes?weights=ones"}, "corpus": {"source": "/photos"}})
    assert identity.run_id(spec).startswith("stripes-photos-")
