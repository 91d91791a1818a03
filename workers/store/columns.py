"""Columns of tables. Takes ids, names, types and docs, gives pyarrow schemas; every column has a doc and a field id."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pyarrow as pa

VERSION = "1"
FIELD_ID = "PARQUET:field_id"  # metadata of a field, which pyarrow writes as the id in the Parquet schema
# Id of the column `run` where a table has one: its files have `run` in their path. Ids of columns are smaller.
RUN_ID = 999
# Fields in a column have the ids from NESTED_IDS times the column's id on, in the order of the type.
NESTED_IDS = 1000

IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


@dataclass(frozen=True, eq=False)
class Table:
    """One dataset of a run.

    Attributes:
        name: folder under `tables/`.
        schema: columns with docs, field ids and the schema's name and version.
        sorted_by: columns that the rows are sorted by.
        group_rows: maximum rows of a row group; in a table with images, their size limits it too.
        by_image: whether an image's page lists its rows.
        apart: column that has a single value in each row group. If a group held the end of one layer and the start of the next,
            it could contain any channel of either, so every query for a channel would have to read it.
    """

    name: str
    schema: pa.Schema
    sorted_by: tuple[str, ...]
    group_rows: int = 65_536
    apart: str | None = None
    by_image: bool = False

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the columns with encoded images."""
        return tuple(field.name for field in self.schema if field.type == IMAGE)


@dataclass(frozen=True)
class Column:
    """One column of a dataset.

    Attributes:
        id: field id, by which readers may identify the column if its name or position changes; never reused in a table,
            and smaller than RUN_ID. Fields in the column have ids derived from it; see `with_ids`.
        name: column name.
        type: Arrow type.
        doc: meaning of the values, with their unit.
    """

    id: int
    name: str
    type: pa.DataType
    doc: str


KEY: tuple[Column, ...] = (
    Column(1, "layer", pa.string(), "layer: name of the node of the model's graph"),
    Column(2, "layer_index", pa.int32(), "position of the layer in `deconvoy layers MODEL`"),
    Column(3, "channel", pa.int32(), "index along the feature map's first axis"),
)
IMAGE_KEY: tuple[Column, ...] = (
    Column(1, "image_index", pa.int64(), "row number of the image in the corpus manifest"),
    Column(2, "image_id", pa.string(), "stable key of the image, such as its path below the corpus"),
    Column(3, "uri", pa.string(), "where the image was read from"),
)


def shift_ids(columns: Sequence[Column], by: int) -> tuple[Column, ...]:
    """Shared columns with larger ids, for a table that starts with other columns."""
    return tuple(replace(column, id=column.id + by) for column in columns)


def with_ids(kind: pa.DataType, ids: Iterator[int]) -> pa.DataType:
    """A type whose nested fields have ids: the next one for each field, before those inside the field.

    Readers that identify columns by id, such as Spark's and Trino's for Iceberg, need an id for every nested field too.
    """
    if pa.types.is_list(kind):
        return pa.list_(_with_id(kind.value_field, ids))
    if pa.types.is_struct(kind):
        return pa.struct([_with_id(field, ids) for field in kind])
    return kind


def _with_id(field: pa.Field, ids: Iterator[int]) -> pa.Field:
    own = {FIELD_ID: str(next(ids))}
    return field.with_type(with_ids(field.type, ids)).with_metadata(own)


def schema_of(name: str, columns: Sequence[Column]) -> pa.Schema:
    """The schema of columns, with its name and version in the metadata.

    Raises:
        ValueError: two columns have the same id, or an id is not one of a column.
    """
    ids = Counter(column.id for column in columns)
    repeated = [column.name for column in columns if ids[column.id] > 1]
    if repeated:
        raise ValueError(f"columns of {name!r} share a field id: {', '.join(repeated)}; give each its own id")
    if outside := [column.name for column in columns if not 0 < column.id < RUN_ID]:
        raise ValueError(f"ids of columns are 1 to {RUN_ID - 1}; those of {', '.join(outside)} in {name!r} are not")
    fields = [_field(column) for column in columns]
    metadata = {"deconvoy.schema": name, "deconvoy.version": VERSION}
    if any(column.type == IMAGE for column in columns):
        features = {column.name: _feature(column.type) for column in columns}
        metadata["huggingface"] = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata=metadata)


def _field(column: Column) -> pa.Field:
    kind = with_ids(column.type, count(NESTED_IDS * column.id))
    return pa.field(column.name, kind, metadata={"doc": column.doc, FIELD_ID: str(column.id)})


def _feature(kind: pa.DataType) -> Any:  # noqa: ANN401 - JSON
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        return [{field.name: _feature(field.type) for field in kind.value_type}]
    if pa.types.is_list(kind):
        return {"_type": "Sequence", "feature": _feature(kind.value_type)}
    names = {"float": "float32", "double": "float64"}
    return {"_type": "Value", "dtype": names.get(str(kind), str(kind))}
