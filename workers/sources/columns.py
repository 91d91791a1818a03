"""The columns of a table of images. Takes a schema and a request, gives which column holds what."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from workers.errors import CorpusError, nearest
from workers.sources.sidecars import SIDECARS
from workers.sources.source import Request

Row = Mapping[str, str | None]
PATHS = (
    "uri",
    "url",
    "path",
    "file",
    "file_name",
    "filename",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "image_id",
)
IMAGES = ("image", "img", "picture", "jpg", "jpeg", "png", "webp", "bytes")


@dataclass(frozen=True)
class Layout:
    """Which column of a table holds what. A field of a struct is a column named `STRUCT.FIELD`.

    Attributes:
        image: the column of the images, or of their paths.
        holds_images: whether it holds the images themselves.
        path: the column of their original paths; None if there is none.
        id: the column of their ids; None to make them.
        label: the column of their labels; None if there is none.
        others: further columns that labels and groups need.
        names: names of the classes of columns whose values are numbers.
    """

    image: str
    holds_images: bool
    path: str | None
    id: str | None
    label: str | None
    others: frozenset[str]
    names: Mapping[str, Sequence[str]]

    @property
    def read(self) -> frozenset[str]:
        """The columns to read for a listing."""
        wanted = {self.path, self.id, self.label, None if self.holds_images else self.image} | self.others
        return frozenset(column for column in wanted if column)

    def flat(self, row: Mapping[str, Any]) -> Row:
        """The values of a row as text, by column."""
        values: dict[str, str | None] = {}
        for name, value in row.items():
            inner = {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
            values |= {column: self._text(column, part) for column, part in inner.items()}
        return values

    def id_of(self, row: Row, number: int, place: str) -> str | None:
        """The id in a row; None if ids are to be made.

        Raises:
            CorpusError: the row has no id.
        """
        if self.id is None:
            return None
        value = row.get(self.id)
        if not value:
            raise CorpusError(f"row {number} of {place!r} has no id in column {self.id!r}; give another --id-column")
        return value

    def label_of(self, row: Row) -> str | None:
        """The label in a row."""
        return row.get(self.label) if self.label else None

    def _text(self, column: str, value: object) -> str | None:
        """A value as text; None if it is null or is neither text nor a number."""
        names = self.names.get(column)
        if names and isinstance(value, int):
            return names[value] if 0 <= value < len(names) else None
        return str(value) if isinstance(value, str | int | float) and value != "" else None


def layout_of(schema: pa.Schema, request: Request, place: str) -> Layout:
    """The layout of a Parquet file.

    Raises:
        CorpusError: no column, or more than one, can hold the images; or a requested column does not exist.
    """
    features = _features(schema)
    images = _image_columns(schema, features)
    known = sorted({name for column in schema for name in _names(column)})
    chosen = request.image_column or _only(images, IMAGES, place) or next((n for n in PATHS if n in known), None)
    if chosen is None:
        raise CorpusError(
            f"{place!r} has no column of images or paths; name one with --image-column: {', '.join(known)}"
        )
    require(known, [chosen, request.id_column, *request.columns], place)
    holds_images = chosen in images or chosen in images.values()
    leaf = images.get(chosen, chosen)
    path = f"{chosen}.path" if holds_images and f"{chosen}.path" in known else None
    names = {
        name: part["names"] for name, part in features.items() if part.get("_type") == "ClassLabel" and "names" in part
    }
    return Layout(leaf, holds_images, path, request.id_column, label_column(known), request.columns, names)


def label_column(known: Sequence[str]) -> str | None:
    """The column that holds labels, by its name."""
    return next((name for name in SIDECARS.keys if name in known), None)


def require(known: Sequence[str], wanted: Sequence[str | None], place: str) -> None:
    """Require columns to exist.

    Raises:
        CorpusError: one does not.
    """
    for name in wanted:
        if name is not None and name not in known:
            raise CorpusError(f"{place!r} has no column {name!r}; {nearest(name, known)}")


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """The columns as Hugging Face's `datasets` describes them; empty without such a description."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return (
        {name: part for name, part in features.items() if isinstance(part, dict)} if isinstance(features, dict) else {}
    )


def _image_columns(schema: pa.Schema, features: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The columns that can hold images, with the column of their bytes. A description names them; otherwise their type does."""
    by_type = {column.name: leaf for column in schema if (leaf := _bytes_of(column))}
    described = {name for name, part in features.items() if part.get("_type") == "Image"}
    return {name: leaf for name, leaf in by_type.items() if name in described} or by_type


def _bytes_of(column: pa.Field) -> str | None:
    """The column of the bytes in a column; None if it holds none."""
    if pa.types.is_struct(column.type):
        inner = column.type.get_field_index("bytes")
        return f"{column.name}.bytes" if inner >= 0 and _is_binary(column.type.field(inner).type) else None
    return column.name if _is_binary(column.type) else None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _names(column: pa.Field) -> list[str]:
    """The name of a column, and those of its fields."""
    inner = [f"{column.name}.{part.name}" for part in column.type] if pa.types.is_struct(column.type) else []
    return [column.name, *inner]


def _only(images: Mapping[str, str], preferred: Sequence[str], place: str) -> str | None:
    """The only column of images, or the only one of a preferred name; None if there is no column of images."""
    names = [name for name in preferred if name in images] or list(images)
    if len(names) > 1:
        raise CorpusError(
            f"{place!r} has several columns of images; choose one with --image-column: {', '.join(sorted(images))}"
        )
    return names[0] if names else None
