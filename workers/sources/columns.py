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
        labels: the columns that may hold labels, best first.
        others: further columns that labels and groups need.
        names: names of the classes of columns whose values are numbers.
    """

    image: str
    holds_images: bool
    path: str | None
    id: str | None
    labels: tuple[str, ...]
    others: frozenset[str]
    names: Mapping[str, Sequence[str]]

    @property
    def read(self) -> tuple[str, ...]:
        """The columns to read for a listing."""
        wanted = {self.path, self.id, *self.labels, None if self.holds_images else self.image, *self.others}
        return tuple(sorted(column for column in wanted if column))

    def id_of(self, row: Row, number: int, place: str) -> str | None:
        """The id in row `number`, counted from 1; None if ids are to be made.

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
        return next((row[name] for name in self.labels if row.get(name)), None)


def text_of(value: object) -> str | None:
    """A value as text; None if it is neither text nor a number."""
    return as_text(str(value)) if isinstance(value, str | int | float) and value != "" else None


def as_text(text: str) -> str:
    """Text in which what UTF-8 cannot encode is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_text(text: str) -> bool:
    """Whether UTF-8 can encode a text."""
    return as_text(text) == text


def layout_of(schema: pa.Schema, request: Request, place: str) -> Layout:
    """The layout of a table.

    Raises:
        CorpusError: no column, or more than one, can hold the images; or a requested column does not exist or holds no text.
    """
    features = _features(schema)
    kinds = {name: kind for column in schema for name, kind in _leaves(column)}
    images = {column.name: leaf for column in schema if (leaf := _bytes_of(column))}
    chosen = request.image_column or _choose(schema, images, features, place)
    if chosen is None:
        known = ", ".join(column.name for column in schema)
        raise CorpusError(f"{place!r} has no column of images or paths; name one with --image-column: {known}")
    holds_images = chosen in images or chosen in images.values()
    _require(kinds, [chosen, request.id_column, *request.columns], place)
    _require_text(kinds, [None if holds_images else chosen, request.id_column, *request.columns], place)
    leaf = images.get(chosen, chosen)
    path = f"{leaf.rpartition('.')[0]}.path" if holds_images else None
    return Layout(
        image=leaf,
        holds_images=holds_images,
        path=path if path in kinds else None,
        id=request.id_column,
        labels=tuple(name for name in SIDECARS.keys if name in kinds and _is_plain(kinds[name])),
        others=request.columns,
        names=_class_names(features),
    )


def _choose(
    schema: pa.Schema, images: Mapping[str, str], features: Mapping[str, Mapping[str, Any]], place: str
) -> str | None:
    """The column of images, by its description, its type or its name; else that of paths; None if there is none."""
    described = [name for name in images if features.get(name, {}).get("_type") == "Image"]
    structs = [name for name, leaf in images.items() if leaf != name]
    named = [next((name for name in IMAGES if name in images), None)]
    paths = [next((name for name in PATHS if name in schema.names and _is_plain(schema.field(name).type)), None)]
    for names in (described, named if named[0] in structs else structs, named, paths, list(images)):
        known = [name for name in names if name]
        preferred = [name for name in IMAGES if name in known][:1] or known
        if len(preferred) > 1:
            choice = ", ".join(sorted(known))
            raise CorpusError(f"{place!r} has several columns of images; choose one with --image-column: {choice}")
        if preferred:
            return preferred[0]
    return None


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """The columns as Hugging Face's `datasets` describes them; empty without such a description."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return (
        {name: part for name, part in features.items() if isinstance(part, dict)} if isinstance(features, dict) else {}
    )


def _class_names(features: Mapping[str, Mapping[str, Any]]) -> dict[str, Sequence[str]]:
    """The names of the classes of columns of type ClassLabel."""
    given = {name: part.get("names") for name, part in features.items() if part.get("_type") == "ClassLabel"}
    return {
        name: names
        for name, names in given.items()
        if isinstance(names, list) and all(isinstance(n, str) for n in names)
    }


def _bytes_of(column: pa.Field) -> str | None:
    """The column of the bytes in a column; None if it holds none."""
    if pa.types.is_struct(column.type):
        inner = column.type.get_field_index("bytes")
        return f"{column.name}.bytes" if inner >= 0 and _is_binary(column.type.field(inner).type) else None
    return column.name if _is_binary(column.type) else None


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_binary(kind.value_type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_plain(kind: pa.DataType) -> bool:
    """Whether the values of a type can be text."""
    return not (pa.types.is_nested(kind) or _is_binary(kind))


def _leaves(column: pa.Field) -> list[tuple[str, pa.DataType]]:
    """The name and type of a column, and those of its fields."""
    inner = (
        [(f"{column.name}.{part.name}", part.type) for part in column.type] if pa.types.is_struct(column.type) else []
    )
    return [(column.name, column.type), *inner]


def _require(kinds: Mapping[str, pa.DataType], wanted: Sequence[str | None], place: str) -> None:
    for name in wanted:
        if name is not None and name not in kinds:
            raise CorpusError(f"{place!r} has no column {name!r}; {nearest(name, kinds)}")


def _require_text(kinds: Mapping[str, pa.DataType], wanted: Sequence[str | None], place: str) -> None:
    for name in wanted:
        if name is not None and not _is_plain(kinds[name]):
            raise CorpusError(f"column {name!r} of {place!r} has type {kinds[name]}, which is not text")
