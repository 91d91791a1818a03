"""The field ids of all tables, as they are committed. Takes nothing, adds new columns to fields.json; refuses to change one.

python -m tests.support.field_ids
"""

import json
import sys
from pathlib import Path

import pyarrow as pa

from workers.store.tables.registry import TABLES
from workers.store.tables.shared import MANIFEST

PATH = Path(__file__).parents[1] / "unit" / "workers" / "store" / "fields.json"
SCHEMAS = {**{name: table.schema for name, table in TABLES.items()}, "manifest": MANIFEST}

Fields = dict[str, tuple[int, str]]  # id and type by the name of the column


def of_schema(schema: pa.Schema) -> Fields:
    """The ids and types of a schema's columns."""
    return {field.name: (int(field.metadata[b"PARQUET:field_id"]), str(field.type)) for field in schema}


def committed() -> dict[str, Fields]:
    """What fields.json says, by table; names of columns that were removed stay, so that their ids are not given again."""
    tables = json.loads(PATH.read_text()) if PATH.exists() else {}
    return {table: {name: (number, type_) for name, number, type_ in rows} for table, rows in tables.items()}


def problems(before: dict[str, Fields], now: dict[str, Fields]) -> list[str]:
    """Columns whose id or type has changed, and ids that were given again."""
    found = []
    for table, fields in now.items():
        known = before.get(table, {})
        owners = {number: name for name, (number, _) in known.items()}
        for name, (number, type_) in fields.items():
            if known.get(name, (number, type_)) != (number, type_):
                found.append(f"{table}.{name} was {known[name]} and is {(number, type_)}")
            elif owners.get(number, name) != name:
                found.append(f"{table}.{name} has the id {number} of {owners[number]!r}")
    return found


def _listed(fields: Fields) -> str:
    """A column on each line."""
    lines = (f"  {json.dumps([name, number, type_])}" for name, (number, type_) in fields.items())
    return "[\n" + ",\n".join(lines) + "\n ]"


def main() -> int:
    """Write fields.json; gives the exit code."""
    before, now = committed(), {name: of_schema(schema) for name, schema in SCHEMAS.items()}
    wrong = problems(before, now)
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    if wrong:
        return 1
    every = {table: before.get(table, {}) | now.get(table, {}) for table in before | now}
    PATH.write_text("{\n " + ",\n ".join(f'"{table}": {_listed(fields)}' for table, fields in every.items()) + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
