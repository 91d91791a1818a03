"""How columns are written down. Takes names, types and docs, gives pyarrow schemas; every column has a doc and a field id."""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

VERSION = "1"

IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


@dataclass(frozen=True, eq=False)
class Table:
    """One dataset of a run.

    Attributes:
        name: folder under `tables/`.
        schema: columns with docs, field ids and the schema's name and version.
        sorted_by: columns that the rows are sorted by.
        group_rows: largest row group; in a table with images their size counts too.
        apart: column whose values no row group mixes, so that a reader who asks for one of them and another key reads no
            group for nothing: where a group holds the end of one layer and the start of the next, every channel may be in it.
    """

    name: str
    schema: pa.Schema
    sorted_by: tuple[str, ...]
    group_rows: int = 65_536
    apart: str | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the columns that hold encoded images."""
        return tuple(field.name for field in self.schema if field.type == IMAGE)


Column = tuple[str, pa.DataType, str]

KEY: tuple[Column, ...] = (
    ("layer", pa.string(), "layer: name of the node of the model's graph"),
    ("layer_index", pa.int32(), "position of the layer in `deconvoy layers MODEL`"),
    ("channel", pa.int32(), "index along the feature map's first axis"),
)
IMAGE_KEY: tuple[Column, ...] = (
    ("image_index", pa.int64(), "row number of the image in the corpus manifest"),
    ("image_id", pa.string(), "stable key of the image: its path below the corpus"),
    ("uri", pa.string(), "where the image was read from"),
)


def schema_of(name: str, columns: tuple[Column, ...]) -> pa.Schema:
    """A schema of columns numbered from 1, with its name and version in its metadata."""
    fields = [
        pa.field(column, kind, metadata={"doc": doc, "PARQUET:field_id": str(number)})
        for number, (column, kind, doc) in enumerate(columns, start=1)
    ]
    metadata = {"deconvoy.schema": name, "deconvoy.version": VERSION}
    pictures = {column: {"_type": "Image"} for column, kind, _ in columns if kind == IMAGE}
    if pictures:
        features = {column: pictures.get(column) or _feature(kind) for column, kind, _ in columns}
        metadata["huggingface"] = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata=metadata)


def _feature(kind: pa.DataType) -> Any:  # noqa: ANN401 - JSON
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        return [{field.name: _feature(field.type) for field in kind.value_type}]
    if pa.types.is_list(kind):
        return {"_type": "Sequence", "feature": _feature(kind.value_type)}
    names = {"float": "float32", "double": "float64"}
    return {"_type": "Value", "dtype": names.get(str(kind), str(kind))}
