"""ZIP archives as corpora: members are listed from the central directory, read by their place, and checked."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support import corpora
from workers.corpus import entries, fetch, manifest, reader
from workers.errors import CorpusError, Reason, Rejected, StaleFile
from workers.sources.source import Tally
from workers.spec.parts import CorpusSpec, LimitsSpec
from workers.store.root import Root

PHOTOS = {"cat/1.jpg": b"first cat" * 900, "./cat/2.PNG": b"second", "dog::/3.webp": b"", "é#1+2.jpg": b"x" * 70_000}


def write(path: Path, members: dict[str, bytes] = PHOTOS, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def listed(source: object, tally: Tally | None = None, **keys: Any) -> list[entries.ListedImage]:
    return list(entries.listing(CorpusSpec(source=str(source), **keys), tally=tally))


def _prepare(pixels: Any, *, size: Any) -> Any:
    assert size == pixels.shape[:2]
    return pixels


def read(image: entries.ListedImage) -> bytes:
    return fetch.read(image.uri, image.bytes, image.etag)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_members_are_listed_with_their_folders_and_read_byte_for_byte(tmp_path, method):
    images = listed(write(tmp_path / "a.zip", method=method))
    assert [(image.image_id, image.label, image.bytes) for image in images] == [
        ("cat/1.jpg", "cat", 8100), ("cat/2.PNG", "cat", 6), ("dog::/3.webp", "dog::", 0), ("é#1+2.jpg", None, 70_000)
    ]  # fmt: skip
    assert [read(image) for image in reversed(images)] == list(PHOTOS.values())[::-1]


def test_members_written_as_a_stream_and_large_extra_fields_are_read(tmp_path):
    class Unseekable(io.BytesIO):
        def seek(self, *_: int) -> int:
            raise OSError("a pipe")

        def tell(self) -> int:
            raise OSError("a pipe")

    stream = Unseekable()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo("a.jpg")
        info.extra = b"\x99\x99\x10\x00" + b"e" * 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, b"streamed" * 100)
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    [image] = listed(tmp_path / "a.zip")
    assert read(image) == b"streamed" * 100


def test_what_is_no_image_is_counted(tmp_path):
    path = write(
        tmp_path / "a.zip", {"a.jpg": b"1", "b.txt": b"2", ".hidden/c.jpg": b"3", "__MACOSX/._a.jpg": b"4", "d/": b""}
    )
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link.jpg")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "a.jpg")
        archive.writestr("lzma.jpg", b"5", zipfile.ZIP_LZMA)
        archive.writestr("secret.jpg", b"6")
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.rindex(signature) + flags] |= 1  # the last member is encrypted
    path.write_bytes(data)
    tally = Tally()
    assert [image.image_id for image in listed(path, tally)] == ["a.jpg"]
    assert tally.counts == {
        ".txt": 1, "hidden": 2, "not a regular file": 1, "unknown compression": 1, "encrypted": 1
    }  # fmt: skip
    assert len(listed(path, include_hidden=True)) == 3


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip archive at all" * 9])
def test_a_file_that_is_not_an_archive_is_one_line(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(CorpusError, match=r"a.zip' is damaged or not a ZIP archive: "):
        listed(tmp_path / "a.zip")


def test_a_damaged_member_is_a_reject_and_a_changed_archive_makes_all_stale(tmp_path):
    corpora.photos(tmp_path / "photos", range(2))
    files = {path.name: path.read_bytes() for path in (tmp_path / "photos").rglob("*.png")}
    path = write(tmp_path / "a.zip", files)
    data = bytearray(path.read_bytes())
    start = 30 + len(next(iter(files)))
    data[start : start + 50] = b"\xff" * 50
    path.write_bytes(data)
    root = Root(str(tmp_path / "root"))
    with manifest.list_corpus(CorpusSpec(source=str(path)), lambda _: None) as listing:
        rel = listing.commit(root)
    rows = manifest.rows(root, rel, 0, 2)
    [batch] = reader.batches(rows, 8, _prepare, reader.ReadOptions(LimitsSpec()))
    assert [(reject.image_index, reject.reason) for reject in batch.rejects] == [(0, Reason.DAMAGED)]
    with pytest.raises(Rejected, match="cannot be decompressed"):
        fetch.read(rows[0].uri, rows[0].bytes, rows[0].etag)
    path.write_bytes(path.read_bytes())
    with pytest.raises(StaleFile, match="has changed since it was listed"):
        fetch.read(rows[1].uri, rows[1].bytes, rows[1].etag)


def test_a_flipped_byte_of_a_stored_member_is_a_reject(tmp_path):
    path = write(tmp_path / "a.zip", {"a.jpg": b"x" * 100}, zipfile.ZIP_STORED)
    [image] = listed(path)
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    [image] = listed(path)
    with pytest.raises(Rejected, match="does not match its checksum"):
        read(image)


def test_a_member_that_claims_to_be_larger_than_its_image_is_a_reject(tmp_path):
    path = write(tmp_path / "a.zip", {"a.jpg": b"x" * 100}, zipfile.ZIP_STORED)
    [image] = listed(path)
    with pytest.raises(Rejected, match="has 80000000 compressed bytes for 100"):
        fetch.read(image.uri.rpartition("+")[0] + "+80000000", 100, "")


def test_a_directory_in_the_wrong_place_is_damage(tmp_path):
    path = write(tmp_path / "a.zip", {"a.jpg": b"x" * 100}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\5\6")
    offset = int.from_bytes(data[end + 16 : end + 20], "little")
    data[end + 16 : end + 20] = (offset + 9).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="is damaged"):
        listed(path)


def test_several_archives_in_braces_and_capitals_are_archives(tmp_path):
    write(tmp_path / "a.zip", {"1.jpg": b"x"})
    write(tmp_path / "B.ZIP", {"2.jpg": b"x"})
    assert [image.image_id for image in listed(f"{tmp_path}/{{a.zip,B.ZIP}}")] == ["B.ZIP/2.jpg", "a.zip/1.jpg"]
