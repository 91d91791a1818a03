"""Names of results: defaults leave no trace in them, what changes pixels does. The digests are those of runs without [decode]."""

from typing import Any

import pytest

from workers import formats
from workers.actors.environment import Environment
from workers.actors.job import Job, digest
from workers.actors.reading import pixel_format
from workers.actors.scan import scan_configuration
from workers.core.preprocess import Preprocessing
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.corpus.pixels import PixelFormat
from workers.corpus.row_keys import rows_key
from workers.models.model import StoredModel
from workers.spec.parts import Interpolation
from workers.spec.scan import make_spec

BEFORE = "e135a15eb8e4c6000960c1cdd57e2a8c"
ROWS_BEFORE = "9569f88b8906113e0bb7e632578f88f1"
PREPROCESSING = Preprocessing(184, 160, (0.5,) * 3, (0.25,) * 3, Interpolation.BILINEAR)
ENVIRONMENT = Environment("0.1.0", "3.11", "2.14.1", "0.29.1", "pillow 13.0.0", "cpu AVX2", "node")


def job(depth: str | None = None, **decode: Any) -> Job:
    values = {"root": "r", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "c"}, "decode": decode}
    spec = make_spec({**values, "resources": {"device": "cpu"}}).with_depth(depth)
    model = StoredModel("deconvoy://zfnet-mini", PREPROCESSING, "f" * 64, ())
    return Job(spec, model, ("relu1",), "corpora/c/manifest-0.parquet")


def named(**decode: Any) -> str:
    return digest(scan_configuration(job(**decode), ENVIRONMENT))


def test_results_of_runs_that_do_not_use_decode_keep_their_names():
    assert named() == named(depth="16") == named(depth="auto") == named(colour="ignore", bands=[]) == BEFORE
    assert digest(scan_configuration(job("16"), ENVIRONMENT)) == BEFORE


def test_every_key_that_changes_pixels_changes_the_name():
    names = {
        BEFORE,
        named(depth="12"),
        named(depth="8"),
        named(depth="range:0-4095"),
        named(bands=[3, 2, 1]),
        named(bands=[1, 2, 3]),
        named(colour="convert"),
        named(jpeg="reduced"),
    }
    assert len(names) == 8


def test_a_depth_that_was_chosen_names_results_as_one_that_was_given():
    assert digest(scan_configuration(job("12"), ENVIRONMENT)) == named(depth="12")


def test_images_of_a_job_are_decoded_as_its_spec_says():
    assert pixel_format(job()) == PixelFormat()
    wanted = PixelFormat(3, 8, 4095, None, (4, 3, 2), convert=False)
    assert pixel_format(job("12", bands=[4, 3, 2])) == wanted
    assert pixel_format(job(depth="range:0-9", colour="convert")) == PixelFormat(span=(0.0, 9.0), convert=True)


def key(*names: str) -> str:
    first = Row(0, names[0], f"/x/{names[0]}", 10, "e", "a", None, False, None)
    others = (Row(1, name, f"/x/{name}", 10, "e", None, "g", True, "bad_name") for name in names[1:])
    return rows_key(manifest.as_table([first, *others]), 0, {})


@pytest.fixture
def versions(monkeypatch) -> dict[str, str]:
    installed = {"pillow-heif": "pillow-heif 1", "pydicom": "pydicom 2"}
    monkeypatch.setattr(formats, "version_of", lambda package: installed.get(package, ""))
    return installed


def test_images_of_pillow_keep_the_names_of_their_shards_whatever_is_installed(versions):
    assert key("a/b.jpg", "n.png") == ROWS_BEFORE
    versions.clear()
    assert key("a/b.jpg", "n.png") == ROWS_BEFORE


@pytest.mark.parametrize("name", ["a.heic", "a.dcm", "noname"])
def test_a_shard_with_an_image_of_an_optional_decoder_is_named_by_its_version(versions, name):
    before = key("a.jpg", name)
    versions.update({"pillow-heif": "pillow-heif 1.1", "pydicom": "pydicom 2.1"})
    after = key("a.jpg", name)
    versions.clear()
    assert len({before, after, key("a.jpg", name)}) == 3


def test_only_the_decoder_that_an_image_may_need_counts(versions):
    before = key("a.heic")
    versions["pydicom"] = "pydicom 9"
    assert key("a.heic") == before
