"""Weights that a model's source names: a file, a URL, or a word that torchvision knows."""

from pathlib import PurePath

import pytest
import torchvision.models

from workers import architectures
from workers.errors import ModelError
from workers.spec import ModelSpec, weights_file
from workers.spec_file import relative_to


def resolved(source: str) -> str | None:
    """The file that is read for a model."""
    return architectures.resolve(ModelSpec(source=source))[1].file


def test_every_name_of_torchvisions_weights_is_a_word_and_no_file():
    for name in torchvision.models.list_models(torchvision.models):
        for word in (*torchvision.models.get_model_weights(name).__members__, "DEFAULT"):
            assert weights_file(f"torchvision://{name}?weights={word}") is None


@pytest.mark.parametrize("weights", ["w.pt", "/w", "s3://b/w.pt", "data:,abc", "memory:x", "simplecache::x", "a-b"])
def test_what_is_no_word_is_read_as_a_file(weights):
    for network in ("deconvoy://zfnet", "deconvoy://zfnet-mini", "torchvision://resnet18"):
        source = f"{network}?weights={weights}"
        assert weights_file(source) == resolved(source) == weights


def test_a_word_is_a_file_for_our_own_networks_and_a_name_for_torchvisions():
    for network in ("zfnet", "zfnet-mini"):
        source = f"deconvoy://{network}?weights=passwords"
        assert weights_file(source) == resolved(source) == "passwords"
    assert weights_file("torchvision://resnet18?weights=passwords") is None
    with pytest.raises(ModelError, match="no weights 'passwords' of resnet18: a file, or one of IMAGENET1K_V1"):
        resolved("torchvision://resnet18?weights=passwords")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("torchvision://alexnet?weights=DEFAULT", "torchvision://alexnet?weights=DEFAULT"),
        ("torchvision://alexnet?weights=s3://b/w.pt", "torchvision://alexnet?weights=s3://b/w.pt"),
        ("deconvoy://zfnet?weights=trained", "deconvoy://zfnet?weights=/specs/trained"),
        ("deconvoy://zfnet?weights=/w.pt", "deconvoy://zfnet?weights=/w.pt"),
        ("deconvoy://zfnet?weights=", "deconvoy://zfnet?weights="),
    ],
)
def test_of_weights_what_is_a_file_and_no_url_is_relative_to_the_spec(source, told):
    assert relative_to(source, PurePath("/specs")) == told
