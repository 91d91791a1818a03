"""The depth that a sample of a corpus shows: from its values, and from what the files declare."""

import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from workers.corpus import depth, fetch, manifest
from workers.corpus.depth import Finding
from workers.errors import ReadError, RunStopped
from workers.spec.decoding import DecodeSpec
from workers.spec.parts import CorpusSpec, LimitsSpec

LIMITS, DEFAULT = LimitsSpec(), DecodeSpec()


def file(pixels: np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def grey(largest: int) -> np.ndarray:
    return np.array([[0, 1], [largest // 2, largest]], np.uint16)


def with_significant_bits(data: bytes, bits: int) -> bytes:
    """A PNG with a chunk sBIT behind its header."""
    body = b"sBIT" + bytes([bits])
    chunk = struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def found(folder: Path, files: dict[str, bytes], spec: DecodeSpec = DEFAULT) -> Finding | None:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with manifest.list_corpus(CorpusSpec(source=f"{folder}/*"), lambda _: None) as listing:
        return depth.find(listing, spec, LIMITS)


@pytest.mark.parametrize(
    ("files", "chosen", "images", "largest"),
    [
        ({"a.png": file(grey(4095)), "b.png": file(grey(17))}, "12", 2, 4095),
        ({"a.tif": file(grey(4096), "TIFF"), "b.png": file(grey(17))}, "16", 2, 4096),
        ({"a.png": file(grey(255))}, "8", 1, 255),
        ({"a.pgm": file(grey(3000), "PPM")}, "12", 1, 3000),
        ({"a.jp2": file(grey(65535), "JPEG2000")}, "16", 1, 65535),
        ({"noname": file(grey(300))}, "12", 1, 300),
    ],
    ids=str,
)
def test_the_smallest_depth_that_holds_all_values_is_chosen(tmp_path, files, chosen, images, largest):
    finding = found(tmp_path / "photos", files)
    assert (finding.depth, finding.images, finding.largest) == (chosen, images, largest)


def test_dark_images_have_the_depth_that_they_declare(tmp_path):
    dark = file(grey(200))
    assert found(tmp_path / "a", {"a.png": dark}).depth == "8"
    assert found(tmp_path / "b", {"a.png": dark, "b.png": with_significant_bits(dark, 12)}).depth == "12"
    assert found(tmp_path / "c", {"a.png": with_significant_bits(dark, 14)}).depth == "16"
    assert found(tmp_path / "d", {"a.tif": file(grey(200), "TIFF", tiffinfo={281: 4095})}).depth == "12"


def test_what_is_declared_never_cuts_values(tmp_path):
    assert found(tmp_path / "a", {"a.png": with_significant_bits(file(grey(60_000)), 12)}).depth == "16"


def test_other_images_do_not_count(tmp_path):
    """Colours, 8 bits, bands, and files that say what their white is."""
    wide = grey(4095)
    files = {
        "a.png": file(np.zeros((2, 2, 3), np.uint8)),
        "b.png": file(np.zeros((2, 2), np.uint8)),
        "c.pgm": b"P5 2 1 4095\n\x00\x00\x0f\xff",
        "d.tif": file(np.zeros((2, 2), np.float32), "TIFF"),
        "e.jpg": file(wide),  # its name says that it cannot have 16 bits
        "f.png": b"no image",
        "g.tif": b"II*\0damaged",
    }
    assert found(tmp_path / "photos", files) is None


def test_a_corpus_of_other_images_starts_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(depth, "_run", lambda *_: pytest.fail("a process was started"))
    assert found(tmp_path / "photos", {"a.png": file(np.zeros((2, 2), np.uint8)), "b.jpg": b"x"}) is None


def test_a_depth_in_the_spec_reads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(depth, "_read", lambda _: pytest.fail("a file was read"))
    assert found(tmp_path / "photos", {"a.png": file(grey(4095))}, DecodeSpec(depth="16")) is None


def test_the_sample_depends_only_on_ids_and_stays_within_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(depth, "SAMPLE", 4)
    files = {f"{number:02}.png": file(grey(1000 + number)) for number in range(12)}
    first = found(tmp_path / "photos", files)
    assert first.images == 4 and found(tmp_path / "photos", dict(reversed(files.items()))) == first
    monkeypatch.setattr(depth, "SAMPLE_BYTES", 2 * len(files["00.png"]) + 10)
    assert found(tmp_path / "photos", files).images == 2


POISON = """
import os, time
from PIL.PngImagePlugin import PngImageFile
load = PngImageFile.load
def poisoned(image):
    if image.size == (3, 3):
        {end}
    return load(image)
PngImageFile.load = poisoned
"""


@pytest.mark.parametrize("end", ["os.abort()", "time.sleep(60)"])
def test_images_that_crash_or_hang_their_process_are_left_out(tmp_path, monkeypatch, end):
    (tmp_path / "sitecustomize.py").write_text(POISON.format(end=end))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(depth, "HANG_S", 3.0)
    poison = file(np.full((3, 3), 65535, np.uint16))
    files = [file(grey(255)), poison, file(grey(4095)), b"no image", poison]
    assert list(depth._measure(files, LIMITS)) == [(255, 0), (4095, 0)]


def test_a_process_that_does_not_start_ends_the_run(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('no room')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        RunStopped, match="the process that looks for the depth of 16-bit images did not start: SystemExit: no room"
    ):
        list(depth._measure([file(grey(255))], LIMITS))


def test_a_file_that_vanishes_is_left_to_the_scan(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(file(grey(4095)))
    with manifest.list_corpus(CorpusSpec(source=str(folder)), lambda _: None) as listing:
        (folder / "a.png").unlink()
        assert depth.find(listing, DecodeSpec(), LIMITS) is None


def test_a_file_that_cannot_be_read_ends_the_run(tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(file(grey(4095)))

    def broken(*_: object) -> bytes:
        raise ReadError("a.png cannot be read")

    monkeypatch.setattr(fetch, "read", broken)
    with (
        manifest.list_corpus(CorpusSpec(source=str(folder)), lambda _: None) as listing,
        pytest.raises(ReadError, match="cannot be read"),
    ):
        depth.find(listing, DecodeSpec(), LIMITS)


def test_a_finding_is_one_line():
    assert str(Finding(1, 4095, 0)) == "12: the largest value in 1 sampled 16-bit grey image is 4,095"
    assert str(Finding(32, 200, 12)).endswith("in 32 sampled 16-bit grey images is 200; the files declare 12 bits")


def test_members_at_the_start_of_compressed_archives_come_first():
    """Others are reached only by decompressing everything before them."""
    uris = ["tar://a::x.tar.gz#1024", "tar://b::x.tgz#512", "tar://c::x.tar#0", "/photos/d.png", "zip://e::x.zip#0+9"]
    ranks = {uri: depth._rank(uri, uri) for uri in uris}
    assert sorted(uris, key=ranks.__getitem__)[:2] == [uris[1], uris[0]]
    assert all(ranks[uri] == hashlib.sha256(uri.encode()).digest() for uri in uris[2:])


def test_of_parquet_only_a_few_images_are_read(tmp_path, monkeypatch):
    images = [{"bytes": file(grey(1000 + number))} for number in range(20)]
    pq.write_table(pa.table({"image": images}), tmp_path / "photos.parquet")
    read = []
    monkeypatch.setattr(depth, "_read", lambda candidate, real=depth._read: read.append(candidate) or real(candidate))
    with manifest.list_corpus(CorpusSpec(source=str(tmp_path / "photos.parquet")), lambda _: None) as listing:
        finding = depth.find(listing, DEFAULT, LIMITS)
    assert len(read) == finding.images == 4 and finding.depth == "12"


def test_the_driver_opens_no_image(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("the driver opened an image"))
    files = {"a.png": file(grey(4095)), "b.tif": file(grey(4096), "TIFF"), "c.png": file(np.zeros((2, 2, 3), np.uint8))}
    assert found(tmp_path / "photos", files).depth == "16"
