"""Field ids: given once, never changed, never given again."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import field_ids
from workers.store.columns import IMAGE, RUN_ID, Column, schema_of, shift_ids
from workers.store.tables.evolve import EVOLUTION
from workers.store.tables.scan import PATCHES


@pytest.mark.parametrize("name", field_ids.SCHEMAS)
def test_every_column_has_the_field_id_and_type_that_were_published(name):
    schema = field_ids.of_schema(field_ids.SCHEMAS[name])
    assert not field_ids.problems(field_ids.committed(), {name: schema})
    missing = schema.keys() - field_ids.committed()[name].keys()
    assert not missing, "new columns: run `python -m tests.support.field_ids`"


@pytest.mark.parametrize("name", field_ids.SCHEMAS)
def test_no_id_was_ever_given_twice_in_a_table(name):
    numbers = [number for number, _ in field_ids.committed()[name].values()]
    assert len(set(numbers)) == len(numbers)


def test_an_id_that_changes_or_is_given_again_is_found():
    before = {"top": {"score": (5, "float"), "gone": (6, "int32")}}
    assert not field_ids.problems(before, {"top": {"score": (5, "float"), "new": (7, "int32")}})
    assert field_ids.problems(before, {"top": {"score": (7, "float")}})
    assert field_ids.problems(before, {"top": {"score": (5, "double")}})
    assert field_ids.problems(before, {"top": {"score": (5, "float"), "new": (6, "int32")}})


def test_a_schema_refuses_two_columns_of_one_id():
    columns = [Column(1, "y", pa.int32(), "row"), Column(1, "x", pa.int32(), "column")]
    with pytest.raises(ValueError, match="columns of 'units' share a field id: y, x"):
        schema_of("units", columns)


def test_a_schema_refuses_the_id_that_is_kept_for_runs():
    with pytest.raises(ValueError, match="ids of columns are 1 to 998; those of y in 'units' are not"):
        schema_of("units", [Column(RUN_ID, "y", pa.int32(), "row")])


def nested(kind: pa.DataType) -> list[int]:
    """The ids of the fields in a type, from the outside in."""
    fields = [kind.value_field] if pa.types.is_list(kind) else [*kind] if pa.types.is_struct(kind) else []
    return [number for each in fields for number in (int(each.metadata[b"PARQUET:field_id"]), *nested(each.type))]


def test_fields_in_a_column_have_ids_that_follow_from_its_own():
    classes = pa.list_(pa.struct([("index", pa.int32()), ("names", pa.list_(pa.string()))]))
    schema = schema_of("units", [Column(7, "classes", classes, "classes"), Column(8, "picture", IMAGE, "picture")])
    assert nested(schema.field("classes").type) == [7000, 7001, 7002, 7003]
    assert nested(schema.field("picture").type) == [8000, 8001]
    assert schema.field("classes").type == classes and schema.field("picture").type == IMAGE


@pytest.mark.parametrize("name", field_ids.SCHEMAS)
def test_files_have_an_id_for_each_field(name, tmp_path):
    with pq.ParquetWriter(tmp_path / "t.parquet", field_ids.SCHEMAS[name]):
        pass
    written = [number for column in pq.read_schema(tmp_path / "t.parquet") for number in nested(column.type)]
    assert written == [number for column in field_ids.SCHEMAS[name] for number in nested(column.type)]


def test_a_column_that_joins_a_shared_group_renumbers_no_other():
    group = [Column(1, "y", pa.int32(), "row"), Column(2, "x", pa.int32(), "column")]
    longer = [group[0], Column(9, "z", pa.int32(), "depth"), group[1]]
    before, after = (field_ids.of_schema(schema_of("units", shift_ids(each, 6))) for each in (group, longer))
    assert before == {name: after[name] for name in ("y", "x")} and after["z"] == (15, "int32")


def test_tables_that_share_columns_keep_their_own_ids_of_them():
    score = [field_ids.of_schema(table.schema)["score"] for table in (PATCHES, EVOLUTION)]
    assert score == [(5, "float"), (11, "float")]
