"""Lists of paths as corpora: rows are resolved against the list, lie below one folder, and missing files are rejects."""

import json
import threading
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.http.places import Allowed
from workers.corpus import entries, fetch
from workers.errors import CorpusError, Reason, RefusedError
from workers.sources.single_files import SINGLE_FILES
from workers.sources.source import Tally
from workers.spec.parts import CorpusSpec
from workers.spec.scan import make_spec

ROWS = [
    {"path": "photos/cat/1.jpg", "label": "tabby", "film": "a"},
    {"path": "./photos/dog/2.png", "label": "", "film": "b"},
    {"path": "photos/cat/../cat/3.any", "label": "tom", "film": "b"},
]


@pytest.fixture
def folder(tmp_path) -> Path:
    for row in ROWS:
        (tmp_path / row["path"]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / row["path"]).write_bytes(row["path"].encode())
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case suffix:
            mark = "\t" if suffix == ".tsv" else ","
            lines = [mark.join(rows[0]), *(mark.join(f'"{value}"' for value in row.values()) for row in rows)]
            path.write_text("\ufeff" + "\r\n".join(lines))
    return path


def listed(source: object, tally: Tally | None = None, **keys: Any) -> list[entries.ListedImage]:
    return list(entries.listing(CorpusSpec(source=str(source), **keys), tally=tally))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_rows_are_listed_by_their_path_below_the_list_and_read(folder, name):
    images = listed(write(folder / name, ROWS), group="column:film")
    assert [(image.image_id, image.label, image.group) for image in images] == [
        ("photos/cat/1.jpg", "tabby", "a"), ("photos/dog/2.png", "dog", "b"), ("photos/cat/3.any", "tom", "b")
    ]  # fmt: skip
    assert [image.uri for image in images] == [str(folder / image.image_id) for image in images]
    data = [fetch.read(image.uri, image.bytes, image.etag) for image in images]
    assert data == [row["path"].encode() for row in ROWS]


def test_ids_come_from_a_column_and_extensions_are_counted_if_asked_for(folder):
    images = listed(write(folder / "a.csv", ROWS), id_column="film", limit=1)
    assert [image.image_id for image in images] == ["a"]
    tally = Tally()
    assert len(listed(folder / "a.csv", tally, extensions=("JPG",))) == 1
    assert tally.counts == {".png": 1, ".any": 1}


def test_what_does_not_exist_or_is_no_file_is_a_reject(folder):
    rows = [{"file_name": "photos/cat/1.jpg"}, {"file_name": "photos/cat/9.jpg"}, {"file_name": "photos/dog"}]
    images = listed(write(folder / "a.jsonl", rows))
    assert [image.refused for image in images] == [None, Reason.VANISHED, Reason.VANISHED]


def test_rows_lie_below_the_folder_of_the_list_or_the_one_that_is_given(folder):
    lists = folder / "lists"
    lists.mkdir()
    path = write(lists / "a.csv", [{"uri": "../photos/cat/1.jpg"}, {"uri": f"file://{folder}/photos/dog/2.png"}])
    with pytest.raises(
        CorpusError, match=r"row 1 of .* names '../photos/cat/1.jpg', which is not below '.*/lists'; give .*"
    ):
        listed(path)
    images = listed(path, within=f"{folder}/photos/")
    assert [image.image_id for image in images] == ["cat/1.jpg", "dog/2.png"]
    with pytest.raises(CorpusError, match=r"names '/etc/passwd', which is not below"):
        listed(write(lists / "b.csv", [{"uri": "/etc/passwd"}]), within=str(folder / "photos"))
    with pytest.raises(CorpusError, match=r"which is not below"):
        listed(write(lists / "c.csv", [{"uri": f"{folder}/photos-of-others/1.jpg"}]), within=str(folder / "photos"))


def test_the_service_allows_a_list_only_with_the_folder_of_its_images(folder):
    path = write(folder / "a.csv", ROWS)

    def spec(**corpus: str):
        return make_spec({"root": "/atlas", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": corpus})

    Allowed((str(folder),)).check_spec(spec(source=str(path)))
    with pytest.raises(RefusedError, match=r"is not under an allowed prefix"):
        Allowed((str(path),)).check_spec(spec(source=str(path)))
    Allowed((str(path), "s3://photos")).check_spec(spec(source=str(path), within="s3://photos/cats"))
    with pytest.raises(RefusedError, match=r"corpus 's3://others' is refused: it is not under"):
        Allowed((str(folder), "s3://photos")).check_spec(spec(source=str(path), within="s3://others"))


def test_a_bucket_is_asked_for_many_rows_at_once_and_in_order(monkeypatch):
    memory = fsspec.filesystem("memory")
    for number in range(50):
        memory.pipe_file(f"/bucket/{number}.jpg", b"x" * number)
    memory.pipe_file("/bucket/list.csv", b"path\n" + b"\n".join(b"%d.jpg" % number for number in range(50)))
    asked, info, lock = [], type(memory).info, threading.Barrier(2)

    def slow(*args: Any, **options: Any) -> Any:
        if "7.jpg" in args[1] or "8.jpg" in args[1]:
            asked.append(lock.wait(5))  # two are asked for at the same time
        return info(*args, **options)

    monkeypatch.setattr(type(memory), "info", slow)
    images = listed("memory://bucket/list.csv")
    monkeypatch.undo()
    assert [(image.image_id, image.bytes) for image in images] == [(f"{number}.jpg", number) for number in range(50)]
    assert images[7].uri == "memory:///bucket/7.jpg" and fetch.read(images[7].uri, 7, images[7].etag) == b"x" * 7


def test_a_folder_of_lists_is_allowed_only_with_the_folder_of_its_images(folder):
    write(folder / "a.parquet", ROWS)
    corpus = {"source": str(folder), "within": "/etc"}
    spec = make_spec({"root": "/atlas", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": corpus})
    with pytest.raises(RefusedError, match=r"corpus '/etc' is refused: it is not under"):
        Allowed((str(folder),)).check_spec(spec)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", r"has no column of images or paths"),
        ("a.csv", b"name,size\na,1\n", r"has no column of images or paths; name one with --image-column: name, size"),
        ("a.csv", b"path\na.jpg,b.jpg\n", r"line 2 of .* has more fields than the first line"),
        ("a.csv", b'path\n"a.jpg\n', r"line \d of .* cannot be read: unexpected end of data"),
        ("a.csv", b"path\n\xff\xfe.jpg\n", r"is not text in UTF-8: 'utf-8' codec"),
        ("a.csv", b"path,x\n,1\n", r"row 1 of .* has no path in column 'path'"),
        ("a.jsonl", b'{"path": "a.jpg"}\nnonsense\n', r"line 2 of .* is not valid JSON"),
        ("a.jsonl", b"[1]\n", r"line 1 of .* is not a JSON object"),
        ("a.jsonl", b"[" * 100_000, r"line 1 of .* is not valid JSON"),
        ("a.csv", b"path\nhttps://host.example/a.jpg\n", r"names 'https://host.example/a.jpg', which is not below"),
    ],
)
def test_what_is_no_list_of_paths_is_one_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(CorpusError, match=message) as caught:
        listed(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_storage_that_fails_is_no_missing_file(monkeypatch):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/slow/a.jpg", b"x")
    memory.pipe_file("/slow/list.csv", b"path\na.jpg\n")
    info = type(memory).info

    def failing(*args: Any, **options: Any) -> Any:
        if args[1].endswith("a.jpg"):
            raise OSError("SlowDown")
        return info(*args, **options)

    monkeypatch.setattr(type(memory), "info", failing)
    with pytest.raises(OSError, match="SlowDown"):
        listed("memory://slow/list.csv")


def test_keys_are_exact():
    memory = fsspec.filesystem("memory")
    for name in ("c//1.jpg", "c/1.jpg", "a", "a::b.jpg"):
        memory.pipe_file(f"/exact/{name}", name.encode())
    memory.pipe_file("/exact/list.csv", b"path\nc//1.jpg\na::b.jpg\n./c/./1.jpg\n")
    images = listed("memory://exact/list.csv")
    assert [fetch.read(image.uri, image.bytes, image.etag) for image in images] == [
        b"c//1.jpg",
        b"a::b.jpg",
        b"c/1.jpg",
    ]


@pytest.mark.parametrize(
    "text", ["x://../../y.jpg", "{folder}/x://../../../y.jpg", "../../y.jpg", "memory://photos/../y.jpg"]
)
def test_no_row_leads_out_of_the_folder(folder, text):
    with pytest.raises(CorpusError, match="which is not below"):
        listed(write(folder / "a.csv", [{"path": text.format(folder=folder)}]))
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/photos/in/a.csv", f"path\n{text.format(folder='memory://photos/in')}\n".encode())
    with pytest.raises(CorpusError, match="which is not below"):
        listed("memory://photos/in/a.csv")


def test_lists_of_http_servers_and_unknown_stores_are_one_line(folder):
    path = write(folder / "a.csv", ROWS)
    for within, message in (
        ("http://host/photos", "on an http server"),
        ("nope://x", "Protocol not known"),
        ("s3://[::1", "."),
    ):
        with pytest.raises(CorpusError, match=message):
            listed(path, within=within)


def test_columns_of_jsonl_may_be_missing_in_some_objects(folder):
    rows: list[dict[str, Any]] = [
        {"path": "photos/cat/1.jpg"},
        {"path": "photos/dog/2.png", "class": "hound", "film": 7},
    ]
    images = listed(write(folder / "a.jsonl", rows), group="column:film")
    assert [(image.label, image.group) for image in images] == [("cat", None), ("hound", "7")]


def test_text_that_utf8_cannot_encode_is_a_reject_or_escaped(folder):
    rows = [{"path": "\ud800.jpg", "label": "\ud800"}, {"path": "photos/cat/1.jpg", "label": "x\udc00"}]
    images = listed(write(folder / "a.jsonl", rows))
    assert [(image.refused, image.label) for image in images] == [(Reason.BAD_NAME, "\\ud800"), (None, "x\\udc00")]
    for image in images:
        image.uri.encode()


def test_folders_with_dots_in_their_path_are_the_same_folders(folder, monkeypatch):
    write(folder / "a.csv", ROWS)
    monkeypatch.chdir(folder / "photos")
    for source, within in (("../a.csv", None), (f"{folder}/photos/../a.csv", f"file://{folder}/./")):
        images = listed(str(folder / "photos" / source), within=within)
        assert images[0].image_id == "photos/cat/1.jpg"


def test_labels_are_folders_below_the_folder_of_the_images(folder):
    (folder / "top.jpg").write_bytes(b"x")
    path = write(folder / "a.csv", [{"path": "top.jpg"}, {"path": "photos/cat/1.jpg"}])
    assert [image.label for image in listed(path)] == [None, "cat"]
    assert [image.label for image in listed(path, label="folder:2")] == [None, "photos"]


def test_a_corpus_exists_whatever_the_ids_of_a_list_are(folder):
    [image] = listed(write(folder / "a.csv", [{"path": "photos/cat/1.jpg", "key": "k1"}]), id_column="key")
    Path(image.uri).unlink()
    (folder / "photos" / "cat" / "2.jpg").write_bytes(b"x")
    assert SINGLE_FILES.corpus_exists(image.uri, image.image_id)
