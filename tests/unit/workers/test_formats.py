"""One registry of formats: what is listed, how files are recognised, which packages they need, and what the docs say."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import dicoms
from workers import formats
from workers.sources import walking
from workers.sources.source import Request

REPOSITORY = Path(__file__).parents[3]
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def file(form: str) -> bytes:
    buffer = io.BytesIO()
    if form == "DICOM":
        return dicoms.grey(RAMP)
    if form == "HEIF":
        pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(RAMP)).save(buffer)
    else:
        Image.fromarray(RAMP).save(buffer, "JPEG" if form == "MPO" else form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", [each.name for each in formats.FORMATS if each.name != "MPO"])
def test_a_file_is_recognised_by_its_first_bytes(form):
    assert formats.of_bytes(file(form)).name == form


@pytest.mark.parametrize("data", [b"", b"P5", b"P7\n", b"text", b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", bytes(132)])
def test_other_files_are_of_no_format(data):
    assert formats.of_bytes(data) is None


@pytest.mark.parametrize(
    ("major", "others", "form"),
    [
        (b"mif1", b"avifmiaf", "AVIF"),
        (b"mif1", b"heicmiaf", "HEIF"),
        (b"mif1", b"miaf", "HEIF"),
        (b"avis", b"", "AVIF"),
    ],
)
def test_files_with_the_same_container_are_told_apart_by_all_their_brands(major, others, form):
    head = (16 + len(others)).to_bytes(4, "big") + b"ftyp" + major + bytes(4) + others + b"heicavif"
    assert formats.of_bytes(head).name == form


def test_a_dicom_file_may_start_with_the_header_of_a_tiff():
    data = bytearray(dicoms.grey(RAMP))
    data[:8] = b"II*\0\x10\0\0\0"
    assert formats.of_bytes(bytes(data)).name == "DICOM"


def test_no_two_formats_have_the_same_extension_or_name():
    every = (formats.FRAME, *formats.FORMATS)
    endings = [ending for each in every for ending in each.extensions]
    assert len(set(endings)) == len(endings) and len(formats.BY_NAME) == len(every)
    assert all(ending == ending.lower() and ending.startswith(".") for ending in endings)


def test_folders_and_archives_list_the_extensions_of_the_registry():
    assert walking.extensions_of(Request("photos")) == formats.EXTENSIONS
    assert formats.supported().split() == [ending for each in formats.FORMATS for ending in each.extensions]


def test_the_first_known_extension_among_the_names_of_a_file_counts():
    assert formats.of_name("a/b.HEIC").name == "HEIF" and formats.of_name("7", "file:///x/y.dcm").name == "DICOM"
    assert formats.of_name("b.tar", "c") is None


def test_only_files_that_may_need_a_package_depend_on_its_version(monkeypatch):
    monkeypatch.setattr(formats, "version_of", lambda package: f"{package} 1")
    assert formats.decoder_versions("a.jpg", "/x/a.jpg") == ()
    assert formats.decoder_versions("a.heic") == ("pillow-heif 1",)
    assert formats.decoder_versions("a", "/x/a") == ("pillow-heif 1", "pydicom 1")
    assert formats.decoder_versions("a.mp4/000025", "video://frame::/x/a.mp4#25+25") == ("av 1",)
    assert formats.installed() == ("pillow-heif 1", "pydicom 1", "av 1")
    monkeypatch.setattr(formats, "version_of", lambda _: "")
    assert formats.decoder_versions("a.heic") == formats.decoder_versions("a") == formats.installed() == ()


def test_a_package_that_is_not_installed_has_no_version():
    assert formats.version_of("deconvoy-has-no-such-package") == ""
    assert re.fullmatch(r"pillow \d+\.\S+", formats.version_of("pillow"))


def test_the_page_on_corpora_has_a_row_for_each_format():
    rows = re.findall(r"^\| ([^|]+) \| (`\.[^|]+) \|", (REPOSITORY / "docs" / "corpora.md").read_text(), re.MULTILINE)
    wanted = [(each.shown, " ".join(f"`{ending}`" for ending in each.extensions)) for each in formats.FORMATS]
    assert rows == wanted


def test_the_readme_names_each_format():
    sentences = re.search(r"Deconvoy reads (.*?)\sIt\sapplies", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert not [each.shown for each in formats.FORMATS if each.shown not in sentences[1]]


def test_each_optional_package_is_installed_by_the_extra_that_messages_name():
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert formats.OPTIONAL
    for each in formats.OPTIONAL:
        assert re.search(rf'^{each.extra} = \["{each.package}[>"]', project, re.MULTILINE)
