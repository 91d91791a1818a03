"""Rows of instruments' tables on pages. Takes a row, gives its columns beside its links; its schema is that of the table."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from service.atlas import links
from service.query.findings import Finding
from workers.store.columns import IMAGE, Table


class Columns(BaseModel):
    """Columns of a row of some table, each a field: which there are is the table's business."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Row(Columns):
    """A row, where its pictures are, and its own page."""

    pictures: dict[str, str]
    href: str


class ImageRow(Row):
    """A row about an image, and where that is."""

    image_href: str


class FoundRow(ImageRow):
    """A row among those of other runs."""

    run: str
    job: str
    run_href: str


@dataclass(frozen=True)
class Of:
    """Annotates a row: the table whose columns its schema has, lists too where it is `whole`."""

    table: Table
    whole: bool = False

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The row's own fields, and the columns with their docs."""
        own = handler.resolve_ref_schema(handler(core))
        fields = [field for field in self.table.schema if field.type != IMAGE]
        columns = {
            field.name: _described(field) for field in fields if self.whole or not pa.types.is_nested(field.type)
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
    """A row's columns, and where its pictures and its own page are."""
    return Row(**_fields(row))


def image_row_of(row: Finding) -> ImageRow:
    """The same of a row about an image."""
    return ImageRow(**_fields(row), image_href=links.image(row.run, row.values["image_id"]))


def found_row_of(row: Finding) -> FoundRow:
    """The same of a row among those of other runs."""
    run = row.run
    about = {"image_href": links.image(run, row.values["image_id"]), "run_href": links.run(run)}
    return FoundRow(**_fields(row), **about, run=run.run, job=run.job)


def _fields(row: Finding) -> dict[str, Any]:
    pictures = {name: links.picture(row.run, row.number, name) for name in row.pictures}
    return {**row.values, "pictures": pictures, "href": links.row(row.run, row.number)}


def _described(field: pa.Field) -> JsonSchemaValue:
    """A column as JSON Schema; each may be null."""
    doc = (field.metadata or {}).get(b"doc", b"").decode()
    return {"anyOf": [_type(field.type), {"type": "null"}], "description": doc}


def _type(kind: pa.DataType) -> JsonSchemaValue:
    if pa.types.is_list(kind):
        return {"type": "array", "items": {"anyOf": [_type(kind.value_type), {"type": "null"}]}}
    if pa.types.is_struct(kind):
        return {"type": "object", "properties": {each.name: _described(each) for each in kind}}
    tests = {"boolean": pa.types.is_boolean, "integer": pa.types.is_integer, "number": pa.types.is_floating}
    return {"type": next((name for name, holds in tests.items() if holds(kind)), "string")}
