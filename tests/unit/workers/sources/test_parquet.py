"""Parquet as a corpus: the column of images is found, rows are listed without their images and read one by one."""

import json
from contextlib import suppress
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.corpus import entries, fetch
from workers.errors import CorpusError, Reason, Rejected, StaleFile
from workers.sources import member_uris, members, parquet
from workers.sources.source import Tally
from workers.sources.versions import UNKNOWN_BYTES
from workers.spec.parts import CorpusSpec

STRUCT = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
DATA = [b"first", b"second one", b"", b"4" * 3000, None]
PATHS = ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg", None, "dog/5.jpg"]


def described(table: pa.Table, **features: Any) -> pa.Table:
    """A table that Hugging Face's `datasets` has written."""
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def structs(**more: list[Any]) -> pa.Table:
    images = [{"bytes": data, "path": path} for data, path in zip(DATA, PATHS, strict=True)]
    return pa.table({"image": pa.array(images, STRUCT), **more})


def listed(source: object, tally: Tally | None = None, **keys: Any) -> list[entries.ListedImage]:
    return list(entries.listing(CorpusSpec(source=str(source), **keys), tally=tally))


def read(image: entries.ListedImage) -> bytes:
    return fetch.read(image.uri, image.bytes, image.etag)


def test_rows_are_listed_by_number_and_read_byte_for_byte_in_any_order(tmp_path):
    pq.write_table(structs(), tmp_path / "a.parquet", row_group_size=2)
    images = listed(tmp_path / "a.parquet")
    assert [(image.image_id, image.label) for image in images] == [
        ("000000000", "cat"), ("000000001", "cat"), ("000000002", "dog"), ("000000003", None), ("000000004", "dog")
    ]  # fmt: skip
    assert {image.bytes for image in images} == {UNKNOWN_BYTES}
    expected = [data or b"" for data in DATA]
    assert [read(image) for image in images] == expected
    assert [read(image) for image in reversed(images)] == expected[::-1]
    assert images[3].uri == f"parquet://image.bytes::{tmp_path}/a.parquet#3"


def test_ids_labels_and_groups_come_from_columns_and_numbers_of_classes_have_their_names(tmp_path):
    table = structs(
        label=[1, 0, 1, None, 7], name=list("abcde"), source=[f"film-{n // 2}" for n in range(5)], rank=[0.5] * 5
    )
    pq.write_table(
        described(table, image={"_type": "Image"}, label={"_type": "ClassLabel", "names": ["cat", "dog"]}),
        tmp_path / "a.parquet",
    )
    images = listed(tmp_path / "a.parquet", id_column="name", group="column:source")
    assert [(image.image_id, image.label, image.group) for image in images] == [
        ("a", "dog", "film-0"), ("b", "cat", "film-0"), ("c", "dog", "film-1"), ("d", None, "film-1"), ("e", "dog", "film-2")
    ]  # fmt: skip  # the last has no class 7, so its folder counts
    assert [image.label for image in listed(tmp_path / "a.parquet", label="column:rank")] == ["0.5"] * 5
    by_path = listed(tmp_path / "a.parquet", id_column="image.path", limit=2)
    assert [image.image_id for image in by_path] == ["cat/1.jpg", "cat/2.jpg"]


@pytest.mark.parametrize(
    ("columns", "keys", "leaf"),
    [
        ({"jpg": pa.binary()}, {}, "jpg"),
        ({"png": pa.large_binary(), "thumbnail": pa.binary()}, {}, "png"),
        ({"patch": STRUCT, "projection": STRUCT}, {"image_column": "projection"}, "projection.bytes"),
        ({"patch": STRUCT, "mask": STRUCT}, {"image_column": "patch.bytes"}, "patch.bytes"),
    ],
)
def test_the_column_of_images_is_found_by_type_and_name_or_given(tmp_path, columns, keys, leaf):
    values = {
        name: pa.array([{"bytes": name.encode(), "path": None} if kind == STRUCT else name.encode()], kind)
        for name, kind in columns.items()
    }
    pq.write_table(pa.table(values), tmp_path / "a.parquet")
    [image] = listed(tmp_path / "a.parquet", **keys)
    assert image.uri.startswith(f"parquet://{leaf}::") and read(image) == leaf.partition(".")[0].encode()


@pytest.mark.parametrize(
    ("columns", "keys", "message"),
    [
        ({"x": [1], "y": ["a"]}, {}, r"has no column of images or paths; name one with --image-column: x, y"),
        ({"a": [b"1"], "b": [b"2"]}, {}, r"has several columns of images; choose one with --image-column: a, b"),
        ({"image": [b"1"]}, {"image_column": "imag"}, r"has no column 'imag'; nearest: image"),
        ({"image": [b"1"]}, {"label": "column:kind"}, r"has no column 'kind'; available: image"),
        (
            {"image": [b"1"], "id": [None]},
            {"id_column": "id"},
            r"row 1 of .* has no id in column 'id'; give another --id-col",
        ),
        (
            {"path": ["a.jpg", "/etc/b.jpg"]},
            {},
            r"row 2 of .* names '/etc/b.jpg', which is not below '/.*'; give .* --within",
        ),
    ],
)
def test_what_is_no_table_of_images_is_one_line(tmp_path, columns, keys, message):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=message):
        listed(tmp_path / "a.parquet", **keys)


@pytest.mark.parametrize("cut", [0, 3, 200])
def test_a_damaged_file_is_one_line(tmp_path, cut):
    pq.write_table(structs(), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[:cut])
    with pytest.raises(CorpusError, match=r"a.parquet' is damaged or not Parquet: "):
        listed(tmp_path / "a.parquet")


def test_a_file_that_is_written_again_makes_its_images_stale(tmp_path):
    pq.write_table(structs(), tmp_path / "a.parquet")
    [image, *_] = listed(tmp_path / "a.parquet")
    pq.write_table(structs().slice(1), tmp_path / "a.parquet")
    with pytest.raises(StaleFile, match="has changed since it was listed"):
        read(image)
    assert fetch.staleness(image.uri, image.bytes, image.etag) is Reason.CHANGED
    (tmp_path / "a.parquet").unlink()
    assert fetch.staleness(image.uri, image.bytes, image.etag) is Reason.VANISHED


def test_a_folder_of_parquet_alone_is_a_dataset_and_one_with_images_is_not(tmp_path):
    data = tmp_path / "set[1]*" / "data"
    data.mkdir(parents=True)
    for number in range(2):
        pq.write_table(structs(), data / f"train-{number:05d}.parquet")
    (tmp_path / "set[1]*" / "README.md").write_text("about")
    tally = Tally()
    images = listed(tmp_path / "set[1]*", tally)
    assert [image.image_id for image in images[4:6]] == [
        "data/train-00000.parquet/000000004",
        "data/train-00001.parquet/000000000",
    ]
    assert tally.counts == {".md": 1}
    assert [read(image) for image in images] == [data or b"" for data in DATA] * 2
    (tmp_path / "set[1]*" / "1.jpg").write_bytes(b"x")
    assert [image.image_id for image in listed(tmp_path / "set[1]*", tally)] == ["1.jpg"]
    assert tally.counts == {".md": 2, ".parquet": 2}


def test_a_bucket_is_read_a_row_group_at_a_time_and_forward(monkeypatch):
    memory = fsspec.filesystem("memory")
    images = pa.table({"image": [b"%d" % number * 700 for number in range(400)]})
    with memory.open("/tables/a.parquet", "wb") as file:
        pq.write_table(images, file, row_group_size=100, compression="none", use_dictionary=False)
    monkeypatch.setattr(parquet, "BATCH_BYTES", 20_000)
    listing = listed("memory://tables/a.parquet")
    opened: list[int] = []
    whole = parquet._ParquetReader._open_group
    monkeypatch.setattr(
        parquet._ParquetReader,
        "_open_group",
        lambda reader, column, group: opened.append(group) or whole(reader, column, group),
    )
    reader = parquet._ParquetReader("memory://tables/a.parquet", "")
    for image in listing[150:350]:
        assert reader.read(member_uris.parse(image.uri), UNKNOWN_BYTES) == images["image"][int(image.image_id)].as_py()
    assert opened == [1, 2, 3]
    assert len(reader._kept) == parquet.BATCHES


def test_a_folder_with_the_name_of_a_file_as_spark_writes_it_is_a_dataset(tmp_path):
    (tmp_path / "photos.parquet").mkdir()
    pq.write_table(structs(), tmp_path / "photos.parquet" / "part-00000.parquet")
    (tmp_path / "photos.parquet" / "_SUCCESS").write_text("")
    tally = Tally()
    assert [image.image_id for image in listed(tmp_path / "photos.parquet", tally, limit=1)] == [
        "part-00000.parquet/000000000"
    ]
    assert tally.counts == {"no extension": 1}


def test_a_rewritten_file_of_a_bucket_is_noticed_at_once():
    memory = fsspec.filesystem("memory")

    def write(first: bytes) -> None:
        with memory.open("/rewritten/a.parquet", "wb") as file:
            pq.write_table(pa.table({"image": [first, b"x" * 100]}), file, row_group_size=1)

    write(b"old")
    images = listed("memory://rewritten/a.parquet")
    assert read(images[0]) == b"old"
    write(b"new")
    with pytest.raises(StaleFile, match="has changed since it was listed"):
        read(images[1])


def test_a_failure_in_the_middle_of_a_row_group_may_be_tried_again(monkeypatch):
    memory = fsspec.filesystem("memory")
    with memory.open("/failing/a.parquet", "wb") as file:
        pq.write_table(pa.table({"image": [b"%d" % number * 500 for number in range(50)]}), file)
    monkeypatch.setattr(parquet, "BATCH_BYTES", 4000)
    reader = parquet._ParquetReader("memory://failing/a.parquet", "")
    uris = [member_uris.parse(image.uri) for image in listed("memory://failing/a.parquet")]
    assert reader.read(uris[0], UNKNOWN_BYTES) == b"0" * 500

    def failing(*_: object) -> None:
        raise TimeoutError("slow")

    with monkeypatch.context() as patch, pytest.raises(TimeoutError):
        patch.setattr(members, "require_version", failing)
        reader.read(uris[30], UNKNOWN_BYTES)
    assert reader.read(uris[30], UNKNOWN_BYTES) == b"30" * 500


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([None, 7], pa.timestamp("ms")), [None, "1970-01-01 00:00:00.007"]),
        (
            pa.array([10**15, 7], pa.timestamp("ms")),
            ["<value out of range: 1000000000000000>", "1970-01-01 00:00:00.007"],
        ),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array(["a", ""], pa.large_string()), ["a", None]),
        (pa.array([1.5, True], pa.float32()), ["1.5", "1"]),
        (pa.array([None, None]), [None, None]),
    ],
)
def test_values_of_any_plain_type_are_text(tmp_path, values, texts):
    pq.write_table(pa.table({"image": [b"1", b"2"], "label": values}), tmp_path / "a.parquet")
    assert [image.label for image in listed(tmp_path / "a.parquet", label="column:label")] == texts


@pytest.mark.parametrize("names", [{"0": "cat"}, [1, 2], 3, ["cat"]])
def test_odd_descriptions_of_classes_are_no_traceback(tmp_path, names):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    pq.write_table(described(structs(label=[0, 1, 2, 3, 4]), **features), tmp_path / "a.parquet")
    assert len(listed(tmp_path / "a.parquet")) == 5


def test_a_path_wins_over_other_bytes_and_a_mask_is_no_label(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    pq.write_table(pa.table({"path": ["a.jpg"], "md5": [b"123"]}), tmp_path / "list.parquet")
    assert [image.uri for image in listed(tmp_path / "list.parquet")] == [str(tmp_path / "a.jpg")]
    table = structs(label=pa.array([{"bytes": b"mask", "path": "m.png"}] * 5, STRUCT))
    pq.write_table(described(table, image={"_type": "Image"}, label={"_type": "Image"}), tmp_path / "masks.parquet")
    assert [image.label for image in listed(tmp_path / "masks.parquet")] == ["cat", "cat", "dog", None, "dog"]
    with pytest.raises(CorpusError, match=r"column 'label' of .* has type struct<.*>, which is not text"):
        listed(tmp_path / "masks.parquet", label="column:label")


def test_a_damaged_footer_of_any_kind_is_damage_at_once(tmp_path):
    pq.write_table(structs(), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    places = range(len(data) - 8 - length, len(data) - 8, 97)
    harmless = 0
    for start in places:
        (tmp_path / "a.parquet").write_bytes(data[:start] + b"\xff" * 20 + data[start + 20 : -8] + data[-8:])
        with suppress(CorpusError):  # any other error fails the test; some bytes of a footer are not needed
            listed(tmp_path / "a.parquet")
            harmless += 1
    assert harmless < len(places) // 2


def test_hidden_files_of_a_dataset_are_not_listed_and_counted_once(tmp_path):
    for name in ("P.PARQUET", ".old/old.parquet"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(structs(), tmp_path / "set" / name)
    (tmp_path / "set" / "dangling.parquet").symlink_to("nowhere")
    tally = Tally()
    assert {image.image_id.partition("/")[0] for image in listed(tmp_path / "set", tally)} == {"P.PARQUET"}
    assert tally.counts == {"hidden": 1, "dangling link": 1}


def test_a_damaged_page_is_a_reject_and_the_next_row_group_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [b"a" * 1000, b"b" * 1000]}), path, row_group_size=1, compression="zstd")
    images, data = listed(path), bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36
    path.write_bytes(data)
    with pytest.raises(Rejected, match="its page in the Parquet file cannot be read"):
        fetch.read(images[0].uri, UNKNOWN_BYTES)
    assert fetch.read(images[1].uri, UNKNOWN_BYTES) == b"b" * 1000
    path.write_bytes(b"another file")
    with pytest.raises(Rejected, match="cannot be read"):
        fetch.read(images[1].uri, UNKNOWN_BYTES)
