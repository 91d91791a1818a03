"""What a run decides about decoding: as many bands as channels, and a depth that stays once it is chosen."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.run import decoding, identity
from tests.support.published import publish
from workers.core.preprocess import Preprocessing
from workers.corpus import manifest
from workers.errors import RunError, SpecError
from workers.spec.parts import Interpolation
from workers.spec.scan import RunSpec, make_spec
from workers.store import documents, paths
from workers.store.documents import PIN
from workers.store.root import Root


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(folder / "a.png")
    return folder


def made(folder: Path, **decode: Any) -> RunSpec:
    values = {"model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": str(folder)}}
    return make_spec({**values, "root": str(folder.parent / "root"), "decode": decode})


def pinned(spec: RunSpec) -> tuple[Any, list[str]]:
    said: list[str] = []
    with manifest.list_corpus(spec.corpus, lambda _: None) as listing:
        return identity.pin(Root(spec.root), "one", spec, listing, said.append), said


def test_a_run_is_pinned_to_the_depth_that_its_corpus_showed_when_it_began(photos):
    pin, said = pinned(made(photos))
    assert pin.depth == "12"
    assert said == ["depth 12: the largest value in 1 sampled 16-bit grey image is 4,095; override with --depth"]
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(photos / "b.png")
    assert pinned(made(photos)) == (pin, [])
    stored = json.loads(Root(made(photos).root).read(paths.spec_path("one")))
    assert stored["depth"] == "12" and "decode" not in stored["identity"]


def test_another_spec_is_pinned_anew(photos):
    first, _ = pinned(made(photos))
    other, said = pinned(made(photos, depth=16))
    assert (first.depth, other.depth, said) == ("12", None, [])


def test_a_corpus_of_8_bits_is_pinned_as_it_always_was(photos):
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(photos / "a.png")
    spec = made(photos)
    pin, said = pinned(spec)
    assert (pin.depth, said) == (None, [])
    stored = Root(spec.root).read(paths.spec_path("one"))
    assert json.loads(stored).keys() == {"identity", "manifest"} and PIN.decode(stored) == pin


@pytest.mark.parametrize(("channels", "bands"), [(3, [4, 3, 2]), (1, [2]), (3, [])])
def test_as_many_bands_as_the_network_has_channels_are_accepted(photos, channels, bands):
    decoding.require_bands(made(photos, bands=bands), network(channels))


@pytest.mark.parametrize(("channels", "bands"), [(3, [4, 3]), (1, [1, 2, 3])])
def test_another_number_of_bands_is_refused(photos, channels, bands):
    line = rf"decode.bands selects {len(bands)} bands, but the number of input channels of n is {channels}"
    with pytest.raises(SpecError, match=line):
        decoding.require_bands(made(photos, bands=bands), network(channels))


def network(channels: int) -> Any:
    values = (0.5,) * channels
    preprocessing = Preprocessing(184, 160, values, values, Interpolation.BILINEAR)
    return SimpleNamespace(preprocessing=preprocessing, stored=SimpleNamespace(source="n"))


@pytest.mark.parametrize(
    ("decode", "chosen", "wanted"),
    [
        ({}, None, {}),
        ({}, "12", {"depth": 12}),
        ({}, "16", {}),
        ({"bands": [3, 2, 1]}, "8", {"bands": [3, 2, 1], "depth": 8}),
    ],
)
def test_a_spec_decodes_as_a_published_run_if_it_names_the_depth_that_was_chosen(photos, decode, chosen, wanted):
    root = Root(str(photos.parent / "published"))
    publish(root, spec={"decode": decode}, depth=chosen)
    scan = documents.read_manifest(root, "first")
    decoding.require_same(made(photos, **wanted), scan)
    with pytest.raises(RunError, match="run 'first' decodes images differently"):
        decoding.require_same(made(photos, **wanted, colour="ignore").with_depth("range:0-7"), scan)
