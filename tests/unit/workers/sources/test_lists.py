"""Lists of paths as corpora: rows are resolved against the list, lie below one folder, and missing files are rejects."""

import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.http.places import Allowed
from workers.corpus import entries, fetch
from workers.errors import CorpusError, Reason, RefusedError
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


def test_a_bucket_is_asked_for_many_rows_at_once_and_in_order():
    memory = fsspec.filesystem("memory")
    for number in range(50):
        memory.pipe_file(f"/bucket/{number}.jpg", b"x" * number)
    memory.pipe_file("/bucket/list.csv", b"path\n" + b"\n".join(b"%d.jpg" % number for number in range(50)))
    images = listed("memory://bucket/list.csv")
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
        ("a.csv", b"path\n\xff\xfe.jpg\n", r"cannot be read: 'utf-8' codec"),
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
