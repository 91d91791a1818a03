"""The commands `sql` and `views`. Take a query and print its rows, or write views to a file."""

import datetime
import decimal
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import Json, RootOption
from service.cli.running import write_text
from service.cli.terminal import echo
from workers.errors import UsageError, nearest
from workers.store.root import Root

if TYPE_CHECKING:
    from service.query.sql import Limits


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sql)
    app.command()(views)


_AS_JSON: tuple[tuple[tuple[type, ...], Callable[[Any], Any]], ...] = (
    ((type(None), bool, int, str), lambda value: value),
    ((bytes, bytearray, memoryview), lambda value: f"{len(value):,} bytes"),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    ((decimal.Decimal,), lambda value: int(value) if value == value.to_integral_value() else float(value)),
)


_JSON_CELL_BYTES, _TEXT_CELL_BYTES = 300, 1100  # memory for printing one value (measured)


def sql(  # noqa: PLR0913, PLR0917 - one parameter per flag
    query: Annotated[str, typer.Argument(help="Query in DuckDB's SQL; every table is a view over all published runs.")],
    root: RootOption,
    memory: Annotated[
        str, typer.Option(help="Memory limit for DuckDB, such as 500MB; the result may take as much again.")
    ] = "4GB",
    timeout: Annotated[float, typer.Option(min=0.1, help="Time limit of the query, in seconds.")] = 300.0,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Allow the query to read and write files and to use the network.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="CSV or Parquet file to write the result to.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Query the tables of all published runs in SQL. `SHOW TABLES` and `DESCRIBE units` list tables and columns.

    Files, extensions and the network are blocked unless --unsafe is given.
    """
    from service.cli.console import print_json, print_rows
    from service.query import sql as tables

    if output is not None:
        _write(Root(root), query, output, tables.Limits(memory, timeout, unsafe), as_json=as_json)
        return
    cell_bytes = _JSON_CELL_BYTES if as_json else _TEXT_CELL_BYTES
    answer = tables.ask(Root(root), query, tables.Limits(memory, timeout, unsafe, cell_bytes))
    names = _number_duplicates(answer.columns)
    rows = [dict(zip(names, map(_to_json, row), strict=True)) for row in answer.rows]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, dict(zip(names, answer.columns, strict=True)))


def _write(root: Root, query: str, output: Path, limits: "Limits", *, as_json: bool) -> None:
    """Write the result to a file, and print its path and rows."""
    from service.cli.console import print_json
    from service.query import sql_files

    try:
        rows = sql_files.write(root, query, output, limits)
    except OSError as error:
        raise UsageError(f"output {str(output)!r} cannot be written: {error.strerror or error}") from error
    if as_json:
        print_json({"output": str(output), "rows": rows})
    else:
        echo(f"{output}  {rows:,} row{'s' if rows != 1 else ''}")


def views(
    root: RootOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="SQL file to write.")] = Path("views.sql"),
    engine: Annotated[
        str, typer.Option("--for", help="SQL engine: duckdb, spark, trino, athena or bigquery.")
    ] = "duckdb",
    pinned: Annotated[
        bool,
        typer.Option(
            "--pinned",
            help="For DuckDB: name the files of the runs that are published now and intact. Queries fail after a run is removed.",
        ),
    ] = False,
) -> None:
    """Write statements that create a view of each table.

    DuckDB views stay up to date when runs are published or removed, unless --pinned is given. For other engines, comments in
    the file say which statements to repeat.
    """
    from service.query import dialects
    from service.query import sql as tables

    known = {str(each): each for each in dialects.Engine}
    if engine not in known:
        raise UsageError(f"--for {engine!r} is not a known engine; {nearest(engine, known)}")
    if pinned and engine != "duckdb":
        raise UsageError(f"--pinned is for DuckDB; omit it with --for {engine}")
    text = tables.views(Root(root)) if pinned else dialects.views(Root(root), known[engine])
    write_text(output, "views", text)


def _number_duplicates(names: Iterable[str]) -> list[str]:
    """Column names, made unique with numbers."""
    unique: list[str] = []
    for name in names:
        number = sum(other == name or other.startswith(f"{name}_") for other in unique)
        unique.append(f"{name}_{number}" if name in unique else name)
    return unique


def _to_json(value: Any) -> Any:  # noqa: ANN401 - DuckDB's values, JSON's values
    """A value of DuckDB as JSON; pictures and other bytes as their size."""
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    for types, convert in _AS_JSON:
        if isinstance(value, types):
            return convert(value)
    return str(value)
