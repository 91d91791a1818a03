"""Corpora and roots on S3, against a server on the loopback interface."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import deconvoy
from tests.support import corpora, s3
from workers.corpus import entries, fetch, manifest
from workers.errors import ModelError, Reason, StaleFile
from workers.models.model import load
from workers.sources.source import Tally
from workers.spec.parts import CorpusSpec, ModelSpec
from workers.store.root import Root

NAMES = ["a.jpg", "cat/1.jpg", "cat//2.jpg", "dog/x::y.jpg", "dog/3.jpg?versionId=7.jpg", "dog/4#5.jpg", "é/6 7%20.jpg"]


@pytest.fixture
def bucket(monkeypatch) -> Iterator[Any]:
    """The file system of a bucket `photos` with NAMES, two files that are no images, and their bytes."""
    with s3.server(monkeypatch):
        import s3fs

        filesystem = s3fs.S3FileSystem()
        filesystem.mkdir("photos")
        for name in (*NAMES, "readme.txt", ".hidden/8.jpg"):
            filesystem.call_s3("put_object", Bucket="photos", Key=name, Body=name.encode())
        yield filesystem


def listed(source: str, tally: Tally | None = None, **keys: Any) -> list[entries.ListedImage]:
    images = entries.listing(CorpusSpec(source=source, **keys), tally=tally)
    return sorted(images, key=lambda image: image.image_id)


def read(image: entries.ListedImage) -> bytes:
    return fetch.read(image.uri, image.bytes, image.etag)


@pytest.mark.usefixtures("bucket")
def test_every_key_is_listed_and_read_by_its_exact_name_or_is_a_reject():
    tally = Tally()
    images = listed("s3://photos", tally)
    assert [image.image_id for image in images] == sorted(NAMES)
    assert tally.counts == {".txt": 1, "hidden": 1}
    refused = [image.image_id for image in images if image.refused]
    assert refused == ["dog/3.jpg?versionId=7.jpg"]
    assert {image.image_id: read(image).decode() for image in images if not image.refused} == {
        name: name for name in NAMES if name not in refused
    }


@pytest.mark.usefixtures("bucket")
def test_globs_and_folders_of_a_bucket():
    assert [image.image_id for image in listed("s3://photos/{cat,dog}/[14]*.jpg")] == ["cat/1.jpg", "dog/4#5.jpg"]
    assert [image.image_id for image in listed("s3://photos/cat")] == ["1.jpg", "2.jpg"]


def test_an_object_that_is_replaced_or_removed_is_stale(bucket):
    [image] = listed("s3://photos/a.jpg")
    assert read(image) == b"a.jpg"
    bucket.pipe_file("photos/a.jpg", b"other")
    with pytest.raises(StaleFile, match="has changed since it was listed"):
        read(image)
    bucket.rm_file("photos/a.jpg")
    assert fetch.staleness(image.uri, image.bytes, image.etag) is Reason.VANISHED


def test_archives_tables_and_lists_of_a_bucket(bucket):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("cat/1.jpg", "dog/2.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    bucket.pipe_file("photos/sets/a.tar", buffer.getvalue())
    with bucket.open("photos/sets/a.parquet", "wb") as file:
        pq.write_table(pa.table({"image": [b"one", b"two"], "label": ["cat", "dog"]}), file)
    bucket.pipe_file("photos/sets/a.csv", b"path,label\ns3://photos/cat/1.jpg,cat\n../a.jpg,dog\n")
    assert [(image.label, read(image)) for image in listed("s3://photos/sets/*.tar")] == [
        ("cat", b"cat/1.jpg"), ("dog", b"dog/2.jpg")
    ]  # fmt: skip
    assert [(image.label, read(image)) for image in listed("s3://photos/sets/a.parquet")] == [
        ("cat", b"one"),
        ("dog", b"two"),
    ]
    images = listed("s3://photos/sets/a.csv", within="s3://photos")
    assert [(image.image_id, image.label, read(image)) for image in images] == [
        ("a.jpg", "dog", b"a.jpg"), ("cat/1.jpg", "cat", b"cat/1.jpg")
    ]  # fmt: skip


def test_a_manifest_on_a_bucket_is_created_once_and_grows(bucket):
    root = Root("s3://photos/atlas")
    assert root.create("runs/a/claim.json", b"1") and not root.create("runs/a/claim.json", b"2")
    assert root.read("runs/a/claim.json") == b"1"
    with manifest.list_corpus(CorpusSpec(source="s3://photos/cat"), lambda _: None) as listing:
        rel = listing.commit(root)
        assert listing.commit(root) == rel and listing.matches(root, rel)
    assert manifest.count(root, rel) == 2
    bucket.pipe_file("photos/cat/0.jpg", b"new")
    with manifest.list_corpus(CorpusSpec(source="s3://photos/cat"), lambda _: None) as listing:
        assert not listing.matches(root, rel)
        grown = listing.commit(root)
    assert [row.image_id for row in manifest.rows(root, grown, 0, 3)] == ["1.jpg", "2.jpg", "0.jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://nowhere", r"^corpus 's3://nowhere' (does not exist|cannot be listed)"),
        ("s3://photos/empty", r"^corpus 's3://photos/empty' does not exist"),
        ("s3://photos/*.png", r"^corpus 's3://photos/\*.png' contains no images"),
        ("s3://photos/a.tar", r"names 'photos/a.tar', which does not exist"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_what_is_not_there_is_one_line(source, message):
    corpora.refuse(source, message)


def test_a_store_without_credentials_or_that_does_not_answer_is_one_line(monkeypatch):
    with s3.server(monkeypatch):
        import s3fs
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    corpora.refuse("s3://photos", r"^corpus 's3://photos' cannot be listed: ")


def test_weights_of_a_bucket_are_those_of_the_local_file(bucket):
    local = str(Path(deconvoy.__file__).parents[1] / "workers" / "pretrained" / "zfnet-mini" / "model.safetensors")
    bucket.put(local, "photos/weights/model.safetensors")
    sources = [f"deconvoy://zfnet-mini?weights={place}" for place in (local, "s3://photos/weights/model.safetensors")]
    first, second = (load(ModelSpec(source=source)).fingerprint for source in sources)
    assert first == second
    with pytest.raises(ModelError, match=r"s3://photos/weights/none.safetensors"):
        load(ModelSpec(source="deconvoy://zfnet-mini?weights=s3://photos/weights/none.safetensors"))
