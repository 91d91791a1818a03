"""Sources of models as text: what is code, a file of weights, a snapshot or a repository, and how relative paths are resolved."""

from pathlib import PurePath

import pytest

from workers.errors import SpecError
from workers.spec import families
from workers.spec.make import make
from workers.spec.parts import ModelSpec

FOLDER = PurePath("/specs")


@pytest.mark.parametrize(
    ("source", "absolute"),
    [
        ("nets.py:small", "/specs/nets.py:small"),
        ("/my/nets.py:Makers.small", "/my/nets.py:Makers.small"),
        ("package.nets:small", "package.nets:small"),
        ("nets:small", "nets:small"),
        ("net.pt2", "/specs/net.pt2"),
    ],
)
def test_code_is_refused_by_every_spec_and_its_files_are_made_absolute(source, absolute):
    assert families.is_code(source) and families.absolute(source, FOLDER) == absolute
    with pytest.raises(SpecError, match=r"is code, which only commands with --trust-code accept"):
        make(ModelSpec, {"source": source})


@pytest.mark.parametrize(
    "source", ["", "alexnet", "a b:c", "nets.py", "nets.py:", ":small", "nets.py:1", "timm://x:y", "x.pt2?y"]
)
def test_other_words_are_no_code(source):
    assert not families.is_code(source)


@pytest.mark.parametrize("file", ["net.pth", "/x/net.pt", "net.ckpt", "pytorch_model.bin", "model.safetensors"])
def test_a_file_of_weights_alone_is_refused_with_the_safe_way(file):
    line = rf"is a file of weights: name its network too, such as torchvision://resnet18\?weights={file}; .*torch.save"
    with pytest.raises(SpecError, match=line):
        make(ModelSpec, {"source": file})


@pytest.mark.parametrize(
    ("source", "absolute", "places"),
    [
        ("hf-hub:./net", "hf-hub:/specs/net", [("snapshot", "/specs/net")]),
        ("hf-hub:/my/net", "hf-hub:/my/net", [("snapshot", "/my/net")]),
        (
            "hf-hub:./a@b?weights=w.bin",
            "hf-hub:/specs/a@b?weights=/specs/w.bin",
            [("snapshot", "/specs/a@b"), ("weights", "/specs/w.bin")],
        ),
        ("hf-hub:s3://bucket/net", "hf-hub:s3://bucket/net", [("snapshot", "s3://bucket/net")]),
        ("hf-hub:org/net@refs/pr/1", "hf-hub:org/net@refs/pr/1", [("repository", "hf://org/net")]),
        ("torchvision://resnet18?weights=DEFAULT", "torchvision://resnet18?weights=DEFAULT", []),
        ("timm://resnet18?weights=w.pth", "timm://resnet18?weights=/specs/w.pth", [("weights", "/specs/w.pth")]),
    ],
)
def test_the_places_of_a_source_are_absolute(source, absolute, places):
    assert families.absolute(source, FOLDER) == absolute
    assert list(families.places(absolute)) == places
    assert make(ModelSpec, {"source": absolute}).source == absolute


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf-hub:timm/resnet18.a1_in1k@refs/pr/1", "resnet18.a1_in1k"),
        ("hf-hub:/my/a@b/net?weights=w.bin", "net"),
        (f"stored://nets.py:small@{'0' * 32}", "nets.py:small"),
        ("timm://resnet18.a1_in1k?weights=w.pth", "resnet18.a1_in1k"),
        ("nets.py:small", ""),
    ],
)
def test_a_run_is_named_after_the_network_alone(source, name):
    assert families.model_of(source) == name


def test_a_stored_source_holds_the_name_of_the_code():
    source = families.stored_source("package.nets:Makers.small", "0" * 32)
    assert source == f"stored://package.nets:Makers.small@{'0' * 32}"
    assert make(ModelSpec, {"source": source}).source == source
    assert families.stored_source("a net/é", "0" * 32) == f"stored://a-net--@{'0' * 32}"
