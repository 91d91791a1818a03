"""Views with the labels that runs were given. Takes names of tables, gives their SQL.

A view has the name of its table. The table as it was scanned is `TABLE_as_scanned`.
"""

from collections.abc import Collection

from workers.store.tables.registry import TABLES
from workers.store.tables.shared import LABELS


def has_labels(table: str) -> bool:
    """Whether the labels that a run is given replace those of a table."""
    return table != LABELS.name and {"label", "image_index"} <= {*TABLES[table].schema.names}


def name_of_stored(table: str, tables: Collection[str]) -> str:
    """The name of a table as it was scanned; `tables` are all that exist."""
    return f"{table}_as_scanned" if LABELS.name in tables and has_labels(table) else table


def views(tables: Collection[str]) -> list[str]:
    """The statements that create the views; none if no run was given labels."""
    return [_view(table) for table in tables if has_labels(table)] if LABELS.name in tables else []


def _view(table: str) -> str:
    return (
        f"CREATE OR REPLACE VIEW {table} AS SELECT stored.* REPLACE ("  # noqa: S608 - our own names
        "CASE WHEN given.image_index IS NULL THEN stored.label ELSE given.label END AS label) "
        f"FROM {table}_as_scanned AS stored LEFT JOIN {LABELS.name} AS given "
        "ON given.run = stored.run AND given.image_index = stored.image_index;"
    )
