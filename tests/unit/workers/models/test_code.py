"""Networks of the user's own code: what a callable or an exported file gives, and one line for whatever goes wrong."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim

from tests.support.networks import output_of
from tests.support.own_code import NET
from workers.errors import ModelError
from workers.models import code
from workers.models import model as models
from workers.models.model import load, outline
from workers.spec.families import stored_source
from workers.spec.make import make
from workers.spec.parts import ModelSpec
from workers.store.root import Root

WHOLE = {"resize": 40, "crop": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bilinear"}
SPEC = make(ModelSpec, {"source": stored_source("code", "0" * 32), **WHOLE})


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    return tmp_path / "net.py"


@pytest.fixture(autouse=True)
def path_stays(monkeypatch):
    """Code may extend the path of imports; no other test sees that."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def module_of(file: Path) -> nn.Module:
    values: dict = {}
    exec(compile(file.read_text(), str(file), "exec"), values)  # noqa: S102 - the test's own text
    module: nn.Module = values["small"]().eval()
    return module


def test_a_callable_of_a_file_gives_the_network_of_its_module(file):
    model, images = code.export(SPEC, f"{file}:small"), torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(output_of(model.network, images), module_of(file)(images))
    assert model.stored.source == f"stored://net.py:small@{model.fingerprint}"
    assert (model.preprocessing.resize, model.preprocessing.mean) == (40, (0.5, 0.5, 0.5))


def test_the_same_code_is_the_same_network_and_other_code_is_another(file):
    first, again = (code.export(SPEC, f"{file}:small").stored.source for _ in range(2))
    file.write_text(NET.replace("stride=2", "stride=1"))
    assert first == again != code.export(SPEC, f"{file}:small").stored.source


def test_a_callable_of_a_package_is_found_from_the_current_folder(file, monkeypatch):
    package = file.parent / "my_networks"
    package.mkdir()
    (package / "deep.py").write_text("from my_layers import Net\n\nclass Makers:\n    make = Net\n")
    (file.parent / "my_layers.py").write_text(NET)
    monkeypatch.chdir(file.parent)
    assert code.export(SPEC, "my_networks.deep:Makers.make").stored.source.startswith(
        "stored://my_networks.deep:Makers.make@"
    )


def test_a_file_may_import_what_lies_beside_it_and_hides_no_package(file):
    (file.parent / "json.py").write_text("raise SystemExit")
    (file.parent / "torch.py").write_text("import json\nimport torch.nn\nfrom layers_beside import small\n")
    (file.parent / "layers_beside.py").write_text(NET)
    assert code.export(SPEC, f"{file.parent / 'torch.py'}:small").network.layers


def test_until_it_is_stored_only_this_process_knows_the_network(file, tmp_path):
    model = code.export(SPEC, f"{file}:small")
    source, root = model.stored.source, Root(str(tmp_path / "root"))
    spec = SPEC.model_copy(update={"source": source})
    assert load(spec).fingerprint == model.fingerprint and outline(spec).layers
    assert not (tmp_path / "root").exists()
    models.store(model, root)
    del model
    assert load(spec, root=root).fingerprint == source.rpartition("@")[2]
    with pytest.raises(ModelError, match="it lies under a root; add --root"):
        load(spec)


def exported(file: Path, **options) -> Path:
    images = options.pop("images", torch.rand(2, 3, 32, 32))
    module = options.pop("module", None) or module_of(file)
    path = file.parent / "net.pt2"
    torch.export.save(torch.export.export(module, (images,), **options), path)
    return path


def test_an_exported_file_has_the_layers_and_numbers_of_its_module(file):
    path = exported(file, dynamic_shapes=({0: Dim("n")},))
    ours, theirs = code.export(SPEC, str(path)), code.export(SPEC, f"{file}:small")
    assert [layer.name for layer in ours.network.layers] == [layer.name for layer in theirs.network.layers]
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(output_of(ours.network, images), output_of(theirs.network, images))
    assert ours.stored.source == f"stored://net.pt2@{theirs.fingerprint}"


def test_an_exported_file_whose_sides_are_free_takes_those_of_the_spec(file):
    sides = {0: Dim("n"), 2: Dim("height", min=16), 3: Dim("width", min=16)}
    model = code.export(SPEC, str(exported(file, images=torch.rand(2, 3, 48, 48), dynamic_shapes=(sides,))))
    assert model.network.nodes[0].shape == (3, 32, 32)


class Grey(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"images": torch.rand(1, 3, 32, 32)},
            r"was exported for exactly 1 images: export it with dynamic_shapes=\(\{0: torch",
        ),
        (
            {"images": torch.rand(2, 3, 24, 24), "dynamic_shapes": ({0: Dim("n")},)},
            r"model.crop 32 x 32 does not match the input of '\S+net.pt2', which is 24 x 24",
        ),
        (
            {"images": torch.rand(2, 1, 32, 32), "module": Grey(), "dynamic_shapes": ({0: Dim("n")},)},
            r"takes images of 1 channels, but model.mean has 3 values",
        ),
        (
            {"images": torch.rand(3, 32), "module": nn.Linear(32, 2)},
            r"takes inputs of the sizes \[\(3, 32\)\]; only one input",
        ),
        (
            {
                "images": torch.rand(2, 3, 32, 32).half(),
                "module": nn.Conv2d(3, 4, 3).half(),
                "dynamic_shapes": ({0: Dim("n")},),
            },
            r"was exported in float16 \(weight\); export module.float\(\)",
        ),
    ],
)
def test_an_exported_file_that_does_not_fit_is_one_line(file, options, line):
    refuse(str(exported(file, **options)), line)


def refuse(source: str, line: str, spec: ModelSpec = SPEC) -> None:
    with pytest.raises(ModelError, match=line) as raised:
        code.export(spec, source)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        (NET, "smal", r"there is no 'smal'; nearest: small"),
        (NET, "Net.maker", r"there is no 'maker'"),
        (NET, "torch", r"is of type module, which cannot be called"),
        (
            "import torch\nnet = torch.nn.ReLU()",
            "net",
            r"is a torch.nn.Module; name a function without arguments that returns it",
        ),
        ("def net():\n    return 3", "net", r"returns int; it must return a torch.nn.Module"),
        (
            "def net(width):\n    return 3",
            "net",
            r"fails: TypeError: net\(\) missing 1 required positional argument: 'width'",
        ),
        ("def net():\n    raise ValueError('no\\nweights')", "net", r"fails: ValueError: no \(net.py, line 2\)$"),
        ("def net():\n    raise SystemExit(3)", "net", r"fails: SystemExit: 3 \(net.py, line 2\)$"),
        (
            "import nothing_like_it",
            "net",
            r"fails: ModuleNotFoundError: No module named 'nothing_like_it' \(net.py, line 1\)$",
        ),
        ("def net(:", "net", r"fails: SyntaxError: invalid syntax \(net.py, line 1\)"),
    ],
)
def test_code_that_fails_is_one_line_with_its_last(file, text, name, line):
    file.write_text(text)
    refuse(f"{file}:{name}", line)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("/none/net.py:small", r"the code file '/none/net.py' does not exist"),
        ("/none/net.pt2", r"the exported file '/none/net.pt2' does not exist"),
        ("no_such_package.nets:small", r"fails: ModuleNotFoundError: No module named 'no_such_package'$"),
    ],
)
def test_code_that_is_not_there_is_one_line(source, line):
    refuse(source, line)


def test_a_file_that_torch_did_not_export_is_one_line(tmp_path):
    (tmp_path / "net.pt2").write_bytes(b"nothing")
    refuse(str(tmp_path / "net.pt2"), r"the code of model '\S+net.pt2' fails: \w+: ")


def test_a_network_without_convolution_is_one_line(file):
    file.write_text("from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))\n")
    refuse(f"{file}:net", "no convolution")


def test_preprocessing_has_no_default(file):
    some = SPEC.model_copy(update={"mean": None, "crop": None})
    refuse(
        f"{file}:small", r"needs all of its preprocessing; give model.crop, model.mean too, or --crop, --mean$", some
    )


@pytest.mark.parametrize("given", [{"kwargs": {"width": 3}}, {"num_classes": 3}])
def test_arguments_are_refused(file, given):
    line = rf"model.{next(iter(given))}: '\S+' takes no arguments; its graph is fixed"
    refuse(f"{file}:small", line, SPEC.model_copy(update=given))
    model = code.export(SPEC, f"{file}:small")
    stored = SPEC.model_copy(update={"source": model.stored.source, **given})
    for read in (load, outline):
        with pytest.raises(ModelError, match=line):
            read(stored)


def test_what_code_prints_is_no_part_of_a_commands_output(file, capsys):
    file.write_text(NET + "\nprint('hello')\n")
    code.export(SPEC, f"{file}:small")
    assert capsys.readouterr() == ("", "hello\n")
