"""The Parquet files: what their footers say, how little one question reads, and that equal rows give equal bytes."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.errors import DamagedFile
from workers.store import rows
from workers.store.columns import IMAGE, Table
from workers.store.facts import PartFile
from workers.store.root import Root
from workers.store.tables.registry import TABLES
from workers.store.tables.scan import PATCHES, PROJECTED, SCAN_TABLES, TOP, UNITS
from workers.store.tables.shared import MANIFEST

LAYERS, CHANNELS, K = 2, 24, 9


def value(kind: pa.DataType, number: int, noise: bytes):
    """Something of a type."""
    if pa.types.is_struct(kind):
        return {"bytes": noise, "path": None}
    if pa.types.is_list(kind):
        return [number, number + 1]
    if pa.types.is_string(kind):
        return f"text {number % 5}"
    return pa.scalar(number % 2 if pa.types.is_boolean(kind) else number % 100).cast(kind).as_py()


def filled(table: Table, keys: list[dict[str, object]], image_bytes: int = 2000) -> pa.Table:
    """Rows with these keys and something in every other column."""
    random = np.random.default_rng(0)
    return pa.Table.from_pylist(
        [
            {
                column.name: key.get(column.name, value(column.type, number, random.bytes(image_bytes)))
                for column in table.schema
            }
            for number, key in enumerate(keys)
        ],
        table.schema,
    )


def patches(image_bytes: int = 2000) -> pa.Table:
    keys = [
        {"layer": f"relu{layer}", "layer_index": layer, "channel": channel, "rank": rank}
        for layer in range(LAYERS)
        for channel in range(CHANNELS)
        for rank in range(K)
    ]
    return filled(PATCHES, keys, image_bytes)


def write(tmp_path: Path, table: Table, parts: list[pa.Table], **options) -> tuple[Root, tuple[PartFile, ...]]:
    root = Root(str(tmp_path / "root"))
    with root.scratch() as scratch, rows.TableWriter(root, table, "r", scratch, **options) as writer:
        for part in parts:
            writer.write(part)
        return root, writer.close()


def footer(root: Root, part: PartFile) -> pq.FileMetaData:
    return pq.read_metadata(root.path(part.path))


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_read_back_with_its_docs_field_ids_and_version(tmp_path, name):
    table = TABLES[name]
    root, (part,) = write(tmp_path, table, [])
    found = pq.read_schema(root.path(part.path))
    assert part.rows == 0
    assert found.equals(table.schema)
    for column, wanted in zip(found, table.schema, strict=True):
        assert column.metadata[b"doc"] == wanted.metadata[b"doc"]
        assert column.metadata[b"PARQUET:field_id"] == wanted.metadata[b"PARQUET:field_id"]
    assert found.metadata[b"deconvoy.schema"] == name.encode()
    assert found.metadata[b"deconvoy.version"] == b"1"


def test_image_columns_are_pictures_to_huggingface(tmp_path):
    root, (part,) = write(tmp_path, PATCHES, [patches()])
    told = json.loads(pq.read_schema(root.path(part.path)).metadata[b"huggingface"])
    features = told["info"]["features"]
    assert features["patch"] == features["projection"] == {"_type": "Image"}
    assert features["channel"] == {"_type": "Value", "dtype": "int32"}
    assert list(features) == PATCHES.schema.names


def test_footers_hold_statistics_of_keys_and_none_of_images(tmp_path):
    root, (part,) = write(tmp_path, PATCHES, [patches()])
    group = footer(root, part).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    for name in ("patch.bytes", "patch.path", "projection.bytes", "projection.path"):
        assert not columns[name].is_stats_set
    for name in ("layer", "layer_index", "channel", "rank", "score", "image_id"):
        assert columns[name].statistics.has_min_max
    assert columns["patch.bytes"].compression == "UNCOMPRESSED"
    assert columns["projection.bytes"].compression == "UNCOMPRESSED"
    assert {columns[name].compression for name in ("layer", "score", "uri", "patch.path")} == {"ZSTD"}
    dictionaries = {name for name, column in columns.items() if column.has_dictionary_page}
    assert dictionaries == {"layer", "label"}


def test_row_groups_hold_whole_channels_up_to_the_tables_size_and_say_how_they_are_sorted(tmp_path):
    whole = patches()
    root, (part,) = write(tmp_path, PATCHES, [whole.slice(start, 50) for start in range(0, len(whole), 50)])
    told = footer(root, part)
    sizes = [told.row_group(i).num_rows for i in range(told.num_row_groups)]
    full = PATCHES.group_rows // K * K
    of_a_layer = [*[full] * (CHANNELS * K // full), *filter(None, [CHANNELS * K % full])]
    assert sizes == of_a_layer * LAYERS and sum(sizes) == len(whole)
    assert 100 <= PATCHES.group_rows <= 150
    for i in range(told.num_row_groups):
        by = [PATCHES.schema.names[each.column_index] for each in told.row_group(i).sorting_columns]
        assert by == ["layer_index", "channel", "rank"]


def test_no_rows_are_a_table_too_whatever_it_is_sorted_by(tmp_path):
    for name, table in TABLES.items():
        root, (part,) = write(tmp_path / name, table, [table.schema.empty_table()])
        assert pq.read_table(root.path(part.path), partitioning=None).num_rows == part.rows == 0


@pytest.mark.parametrize("step", [1, 7, 50, 1000])
def test_groups_with_large_images_end_between_channels_however_the_rows_came(tmp_path, step):
    whole = patches()
    picture = pa.StructArray.from_arrays(
        [pa.array([b"x" * 60_000] * len(whole)), pa.nulls(len(whole), pa.string())], fields=list(IMAGE)
    )
    whole = whole.set_column(whole.schema.get_field_index("patch"), PATCHES.schema.field("patch"), picture)
    root, (part,) = write(tmp_path, PATCHES, [whole.slice(start, step) for start in range(0, len(whole), step)])
    told = footer(root, part)
    sizes = [told.row_group(i).num_rows for i in range(told.num_row_groups)]
    assert set(sizes[:-1]) == {18}  # two channels of nine: a third one would pass the limit
    assert sum(sizes) == len(whole)


def test_pages_have_an_index_and_a_checksum_that_finds_damage(tmp_path):
    root, (part,) = write(tmp_path, PATCHES, [patches()])
    column = footer(root, part).row_group(0).column(PATCHES.schema.get_field_index("channel"))
    assert column.has_column_index and column.has_offset_index
    data = bytearray(root.read(part.path))
    place = data.index(patches()["patch"][5].as_py()["bytes"])
    data[place + 7] ^= 1
    root.put("damaged.parquet", bytes(data))
    with pytest.raises(DamagedFile, match="CRC"):
        rows.read_table(root, "damaged.parquet")


def test_equal_rows_give_equal_bytes_however_they_arrive(tmp_path):
    whole = patches()
    _, one = write(tmp_path / "1", PATCHES, [whole])
    _, two = write(tmp_path / "2", PATCHES, [whole.slice(start, 7) for start in range(0, len(whole), 7)])
    _, many = write(tmp_path / "3", PATCHES, [whole.slice(0, 300), whole.slice(300)])
    assert one == two == many


def test_the_part_is_named_by_its_content_and_described_as_it_is(tmp_path):
    root, (part,) = write(tmp_path, TOP, [filled(TOP, [{}] * 10)])
    assert part.path == f"tables/top/run=r/part-00000-{part.sha256[:16]}.parquet"
    assert (part.rows, part.bytes) == (10, len(root.read(part.path)))
    assert root.files("tables/top/run=r") == {part.path.rpartition("/")[2]: part.bytes}


def test_a_table_rolls_over_to_new_parts_and_loses_no_row(tmp_path):
    whole = patches()
    root, parts = write(tmp_path, PATCHES, [whole], part_bytes=300_000)
    assert len(parts) == 4
    assert all(part.bytes < 300_000 + 2 * 2100 * PATCHES.group_rows for part in parts)
    back = pa.concat_tables([rows.read_table(root, part.path) for part in parts])
    assert back.equals(whole)


def test_every_table_of_a_scan_takes_rows(tmp_path):
    for table in SCAN_TABLES:
        whole = filled(table, [{}] * 5)
        root, (part,) = write(tmp_path, table, [whole])
        assert rows.read_table(root, part.path).equals(whole)


def test_a_writer_that_is_left_by_an_error_commits_nothing(tmp_path):
    root = Root(str(tmp_path / "root"))
    with pytest.raises(RuntimeError), root.scratch() as scratch, rows.TableWriter(root, TOP, "r", scratch) as writer:
        writer.write(filled(TOP, [{}]))
        raise RuntimeError
    assert root.files("tables/top/run=r") == {}
    assert not list((tmp_path / "root" / "tmp").iterdir())


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    touched = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.touched += len(data)
        return data


@pytest.mark.parametrize(
    "filters", [[("layer", "==", "relu1"), ("channel", "==", 17)], [("layer_index", "==", 1), ("channel", "==", 17)]]
)
def test_one_channel_of_a_big_table_reads_a_few_bytes(tmp_path, monkeypatch, filters):
    root, (part,) = write(tmp_path, PATCHES, [patches(image_bytes=20_000)])
    file = Counted(root.read(part.path))
    monkeypatch.setattr(Root, "open", lambda *_: file)
    found = rows.read_table(root, part.path, filters=filters)
    assert found["rank"].to_pylist() == list(range(K))
    assert part.bytes > 17_000_000
    assert file.touched < 2.2 * PATCHES.group_rows * 2 * 20_000


def test_a_small_file_is_filtered_by_row_group_and_holds_no_statistics_of_pictures():
    count = 3 * rows.SMALL_GROUP_ROWS
    table = pa.table({"layer_index": np.arange(count) // rows.SMALL_GROUP_ROWS, "patch": [b"x" * 50] * count})
    columns = [table[name] if name in table.column_names else pa.nulls(count) for name in PROJECTED.names]
    data = rows.encode(PROJECTED, pa.table(columns, PROJECTED.names))
    told = pq.read_metadata(io.BytesIO(data))
    assert told.num_row_groups == 3
    group = told.row_group(1)
    stats = {group.column(i).path_in_schema: group.column(i).is_stats_set for i in range(group.num_columns)}
    assert stats["layer_index"] and not stats["patch"] and not stats["projection"]


def test_a_small_file_is_the_same_bytes_for_the_same_rows():
    table = pa.Table.from_pylist(
        [{"image_id": f"{n}.png", "uri": "u", "bytes": n, "etag": "e", "removed": False} for n in range(500)], MANIFEST
    )
    assert rows.encode(MANIFEST, table) == rows.encode(MANIFEST, pa.concat_tables([table.slice(0, 9), table.slice(9)]))


def test_histograms_are_read_back(tmp_path):
    whole = filled(UNITS, [{"bins": [-3, 0, 9], "counts": [1, 2, 3]}, {"bins": [], "counts": []}])
    root, (part,) = write(tmp_path, UNITS, [whole])
    assert rows.read_table(root, part.path)["bins"].to_pylist() == [[-3, 0, 9], []]
