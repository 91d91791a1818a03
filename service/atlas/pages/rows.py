"""Rows of instruments' tables on pages. Takes a row, gives its columns and links, with a schema made from the table's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from service.atlas import links
from service.query.findings import Finding
from service.query.naming import model_name
from workers.store.columns import IMAGE, Table


class Columns(BaseModel):
    """The columns of a table's row, each a field; the table decides which fields there are."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Row(Columns):
    """A row, with the addresses of its pictures and of its own page."""

    pictures: dict[str, str]
    href: str


class ImageRow(Row):
    """A row about an image, with the address of the image's page."""

    image_href: str


class FoundRow(ImageRow):
    """A row that is shown among rows of other runs."""

    run: str
    job: str
    run_href: str


@dataclass(frozen=True)
class Of:
    """Annotates a row with the table that gives its schema; if `whole`, list columns are included."""

    table: Table
    whole: bool = False

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The row's own fields, and the columns with their docs."""
        own = handler.resolve_ref_schema(handler(core))
        fields = [field for field in self.table.schema if field.type != IMAGE]
        columns = {
            field.name: _describe_column(field) for field in fields if self.whole or not pa.types.is_nested(field.type)
        }
        properties = columns | own.get("properties", {})
        return {
            "type": "object",
            "title": f"{own['title']} of {self.table.name}",
            "description": own.get("description", ""),
            "properties": properties,
            "required": sorted(properties),
            "additionalProperties": False,
        }


def row_of(row: Finding) -> Row:
    """A row for a page."""
    return Row(**_fields(row))


def image_row_of(row: Finding) -> ImageRow:
    """A row about an image for a page."""
    return ImageRow(**_fields(row), image_href=links.image(row.run, row.values["image_id"]))


def found_row_of(row: Finding) -> FoundRow:
    """A row for a page that shows rows of several runs."""
    run = row.run
    about = {"image_href": links.image(run, row.values["image_id"]), "run_href": links.run(run)}
    return FoundRow(**_fields(row), **about, run=run.run, job=run.job)


def _fields(row: Finding) -> dict[str, Any]:
    pictures = {name: links.picture(row.run, row.number, name) for name in row.pictures}
    return {**shown_values(row), "pictures": pictures, "href": links.row(row.run, row.number)}


def shown_values(row: Finding) -> dict[str, Any]:
    """The columns of a row; with names instead of the places of its image and model if the run hides them."""
    values = row.values
    if not row.run.hides_paths:
        return dict(values)
    names: Mapping[str, Callable[[Any], Any]] = {"uri": lambda _: values["image_id"], "model": model_name}
    return {column: names[column](value) if column in names and value else value for column, value in values.items()}


def _describe_column(field: pa.Field) -> JsonSchemaValue:
    """A column as JSON Schema; every column may be null."""
    doc = (field.metadata or {}).get(b"doc", b"").decode()
    return {"anyOf": [_type(field.type), {"type": "null"}], "description": doc}


def _type(kind: pa.DataType) -> JsonSchemaValue:
    if pa.types.is_list(kind):
        return {"type": "array", "items": {"anyOf": [_type(kind.value_type), {"type": "null"}]}}
    if pa.types.is_struct(kind):
        return {"type": "object", "properties": {field.name: _describe_column(field) for field in kind}}
    tests = {"boolean": pa.types.is_boolean, "integer": pa.types.is_integer, "number": pa.types.is_floating}
    return {"type": next((name for name, holds in tests.items() if holds(kind)), "string")}
