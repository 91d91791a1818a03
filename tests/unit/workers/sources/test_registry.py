"""A source of images is one registered object: one that only this test knows is listed, read, checked, allowed and brought."""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from service.atlas import pictures
from service.cli.running import absolute_corpus
from service.control import uploads
from service.http.places import Allowed
from workers import locations
from workers.corpus import entries, fetch, isolate, manifest, reader
from workers.errors import CorpusError, QueryError, Reason, RefusedError, StaleFile, UsageError
from workers.host.hangs import Limit
from workers.sources import registry
from workers.sources.folder import FolderSource
from workers.sources.glob import GlobSource
from workers.sources.registry import access_of, source_of
from workers.sources.source import Alive, Request, SourceEntry, Tally, nothing
from workers.spec.parts import CorpusSpec, LimitsSpec
from workers.spec.scan import make_spec
from workers.spec.toml import read_toml
from workers.store.root import Root

SCHEME = "list://"
COLOURS = {"warm/red.png": (200, 0, 0), "warm/yellow.png": (200, 200, 0), "blue.png": (0, 0, 200)}


class ListAccess:
    """Images that lie in a JSON file, each as base64; a uri is `list://FILE#NAME`, an etag the first letters."""

    def reads(self, uri: str) -> bool:
        return uri.startswith(SCHEME)

    def read(self, uri: str, expected_bytes: int, etag: str, alive: Alive = nothing) -> bytes:
        del alive
        reason = self.staleness(uri, expected_bytes, etag)
        if reason:
            raise StaleFile(reason, f"{uri} has changed")
        return base64.b64decode(self._encoded(uri) or "")

    def staleness(self, uri: str, expected_bytes: int, etag: str) -> Reason | None:
        encoded = self._encoded(uri)
        if encoded is None:
            return Reason.VANISHED
        same = len(base64.b64decode(encoded)) == expected_bytes and etag in ("", encoded[-40:])
        return None if same else Reason.CHANGED

    def first_byte(self, uri: str) -> None:
        self._encoded(uri)

    def corpus_exists(self, uri: str, image_id: str) -> bool:
        return Path(uri.removeprefix(SCHEME).removesuffix(f"#{image_id}")).exists()

    def _encoded(self, uri: str) -> str | None:
        path, _, name = uri.removeprefix(SCHEME).partition("#")
        return json.loads(Path(path).read_text()).get(name)


class ListSource:
    """`list://FILE`."""

    access = ListAccess()

    def accepts(self, source: str) -> bool:
        return source.startswith(SCHEME)

    def absolute(self, source: str, folder: PurePath) -> str:
        return SCHEME + locations.absolute(source.removeprefix(SCHEME), folder)

    def places(self, source: str, within: str | None = None) -> tuple[str, ...]:
        return (source.removeprefix(SCHEME), *([within] if within else []))

    def entries(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        source = request.source
        tally.add("other")
        path = Path(source.removeprefix(SCHEME))
        if not path.exists():
            raise CorpusError(f"corpus {source!r} does not exist")
        limit.restart()
        images = json.loads(path.read_text()).items()
        return (
            SourceEntry(name, f"{source}#{name}", len(base64.b64decode(encoded)), encoded[-40:])
            for name, encoded in images
        )


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, **more: tuple[int, int, int]) -> None:
    images = {**COLOURS, **more}
    path.write_text(json.dumps({name: base64.b64encode(png(colour)).decode() for name, colour in images.items()}))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """One line has been added to the registry."""
    monkeypatch.setattr(registry, "SOURCES", (ListSource(), *registry.SOURCES))


@pytest.fixture
def images(tmp_path) -> Path:
    """A file of images."""
    write(tmp_path / "images.json")
    return tmp_path / "images.json"


def rows_of(images: Path, root: Root) -> list[manifest.Row]:
    spec = CorpusSpec(source=f"{SCHEME}{images}", group=r"(\w+)\.png")
    with manifest.list_corpus(spec, lambda _: None) as listing:
        rel = listing.commit(root)
    return manifest.rows(root, rel, 0, manifest.count(root, rel))


def prepare(pixels, *, size):
    assert size == pixels.shape[:2]
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels[:4, :4].transpose(2, 0, 1)))


def test_its_images_are_listed_sorted_labelled_and_decoded(images, tmp_path):
    rows = rows_of(images, Root(str(tmp_path / "root")))
    assert [(row.image_id, row.label, row.group) for row in rows] == [
        ("blue.png", None, "blue"), ("warm/red.png", "warm", "red"), ("warm/yellow.png", "warm", "yellow")
    ]  # fmt: skip
    (batch,) = reader.batches(rows, 8, prepare, reader.ReadOptions(LimitsSpec()))
    assert not batch.rejects
    assert [tuple(image[:, 0, 0].tolist()) for image in batch.pixels()] == [COLOURS[row.image_id] for row in rows]


def test_a_version_that_has_changed_or_gone_is_a_verdict(images, tmp_path):
    rows = rows_of(images, Root(str(tmp_path / "root")))
    assert isolate.find_stale(rows) == {}
    write(images, **{"blue.png": (0, 9, 0)})
    assert {index: verdict.reason for index, verdict in isolate.find_stale(rows).items()} == {0: Reason.CHANGED}
    with pytest.raises(StaleFile, match="has changed"):
        fetch.read(rows[0].uri, rows[0].bytes, rows[0].etag)
    images.write_text("{}")
    assert {verdict.reason for verdict in isolate.find_stale(rows).values()} == {Reason.VANISHED}


def test_its_places_are_asked_for_by_the_service_and_by_a_cluster_elsewhere(images):
    corpus = {"corpus": {"source": f"{SCHEME}{images}"}}
    spec = make_spec({"root": "/atlas", "model": {"source": "deconvoy://zfnet-mini"}, **corpus})
    Allowed((str(images.parent),)).check_spec(spec)
    with pytest.raises(RefusedError, match=f"corpus '{images}' is refused: it is not under an allowed prefix"):
        Allowed(("/srv",)).check_spec(spec)
    asked = {"root": "memory://uploads", **corpus}
    with pytest.raises(UsageError, match="is on this machine"):
        uploads.check(asked, "http://head.example:8265")
    uploads.check({**asked, "corpus": {"source": f"{SCHEME}s3://bucket/images.json"}}, "http://head.example:8265")


def test_the_atlas_shows_an_original_that_is_as_it_was_scanned(images, tmp_path, monkeypatch):
    row, *_ = rows_of(images, Root(str(tmp_path / "root")))
    data = png(COLOURS[row.image_id])
    scanned = pa.table({"uri": [row.uri], "bytes": [row.bytes], "sha256": [hashlib.sha256(data).hexdigest()]})
    monkeypatch.setattr(pictures, "read", lambda *_: scanned)
    run: Any = SimpleNamespace(run="listed")
    assert pictures.Pictures(None).original(run, 0).data == data
    write(images, **{row.image_id: (0, 9, 0)})
    with pytest.raises(QueryError, match=r"is not the file that was scanned any more|has changed"):
        pictures.Pictures(None).original(run, 0)


def test_its_relative_path_is_relative_to_the_spec_or_the_working_directory(images, monkeypatch):
    monkeypatch.chdir(images.parent)
    assert absolute_corpus(f"{SCHEME}images.json") == f"{SCHEME}{images}"
    text = f'[corpus]\nsource = "{SCHEME}images.json"\n'
    assert read_toml(text, Path("/specs"))["corpus"]["source"] == f"{SCHEME}/specs/images.json"


def test_what_it_refuses_is_reported_by_the_listing():
    with pytest.raises(CorpusError, match=r"^corpus 'list:///nowhere' does not exist$"):
        entries.listing(CorpusSpec(source=f"{SCHEME}/nowhere"))


@pytest.mark.parametrize(
    ("corpus", "source"),
    [
        ("photos", FolderSource),
        ("s3://bucket/photos", FolderSource),
        ("", FolderSource),
        ("/p/*.jpg", GlobSource),
        ("s3://b/[ab]/x", GlobSource),
        ("a{b,c}", GlobSource),
        ("a{b}", FolderSource),
        ("a?", GlobSource),
    ],
)
def test_a_sign_of_a_glob_makes_a_corpus_a_glob_and_all_else_is_a_folder(corpus, source):
    assert isinstance(source_of(corpus), source)
    assert access_of(corpus) is FolderSource.access is GlobSource.access


@pytest.mark.parametrize("corpus", ["photos/*.jpg", "photos", "s3://b/*.jpg", "/p", "zip://x::a.zip"])
def test_folders_and_globs_are_places_themselves_and_relative_ones_go_below_a_folder(corpus):
    source, is_url = source_of(corpus), "://" in corpus
    assert source.places(corpus) == (corpus,)
    assert source.absolute(corpus, PurePath("/specs")) == (corpus if is_url else str(PurePath("/specs") / corpus))


@pytest.mark.parametrize(
    "corpus", ["zip://*.jpg::a.zip", "zip://::/photos/a[1].zip", "simplecache::s3://bucket/photos"]
)
def test_a_chain_of_file_systems_is_refused_in_one_line(corpus):
    with pytest.raises(
        CorpusError, match=r"chains file systems \(::\), which is not supported; give an archive by its own path"
    ):
        entries.listing(CorpusSpec(source=corpus))


def test_sources_know_no_spec_so_that_reading_a_spec_may_ask_them():
    folder = Path(registry.__file__).parent
    assert not [path.name for path in folder.glob("*.py") if "workers.spec" in path.read_text()]
