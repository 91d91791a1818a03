"""Results of the instruments. Takes runs of any instrument, gives rows of their tables with their row numbers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read, row
from workers.errors import DamagedRun, QueryError
from workers.host import log
from workers.kinds import Kind
from workers.store.columns import Table
from workers.store.tables.registry import TABLES_OF

TABLE_OF: Mapping[Kind, Table] = {kind: tables[0] for kind, tables in TABLES_OF.items() if kind is not Kind.SCAN}
OF_IMAGES = tuple(kind for kind, table in TABLE_OF.items() if table.by_image)
PANELS = ("panel_image", "panel_activation", "panel_projection", "panel_probability", "panel_class")
MAPS = ("activation_map", "probability_map", "class_map")


@dataclass(frozen=True, eq=False)
class Finding:
    """One row of an instrument's table.

    Attributes:
        run: the run.
        table: its table.
        number: number of the row in the table, which identifies its pictures.
        values: columns by name; lists are included only if a single row was requested.
        pictures: names of the image columns that hold a picture.
    """

    run: PublishedRun
    table: Table
    number: int
    values: dict[str, Any]
    pictures: tuple[str, ...]


def findings(run: PublishedRun, limit: int | None = None) -> tuple[Finding, ...]:
    """The rows of an instrument's run, in the table's order.

    Raises:
        QueryError: the run is of another kind.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    return tuple(_rows(run, plain_columns(run), None))[:limit]


def finding(run: PublishedRun, number: int) -> Finding:
    """One row of an instrument's run, lists included.

    Raises:
        QueryError: the run is of another kind, or has no such row.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    table = _table(run)
    values = row(run, table, number, table.schema.names)
    pictures = {name: values.pop(name) for name in table.images}
    present = tuple(name for name, picture in pictures.items() if picture and picture["bytes"])
    return Finding(run, table, number, values, present)


def plain_columns(run: PublishedRun) -> pa.Table:
    """The columns of an instrument's table with one value per row, and whether each picture is present, as `NAME?`.

    Raises:
        QueryError: the run is of another kind.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    table = _table(run)
    plain = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    has_picture = {f"{name}?": pc.field(name, "bytes").is_valid() for name in table.images}
    return read(run, table, pc.scalar(True), {name: pc.field(name) for name in plain} | has_picture)


def of_image(
    runs: Iterable[PublishedRun],
    corpus: str,
    image_id: str,
    columns_of: Callable[[PublishedRun], pa.Table] = plain_columns,
) -> Iterator[Finding]:
    """The results of occlusion, inversion and invariance for an image, from all runs over its corpus.

    Args:
        runs: the runs to search.
        corpus: source of the corpus; the same image id in another corpus is another image.
        image_id: id of the image in the corpus, or its uri.
        columns_of: gives a run's `plain_columns`; a service caches them.

    A run whose files are damaged is left out and logged.
    """
    for run in runs:
        if run.job in OF_IMAGES and run.corpus == corpus:
            try:
                yield from _rows(run, columns_of(run), image_id)
            except DamagedRun as error:
                log.Log().say(f"{error}; the run is left out", log.WARNING)


def _rows(run: PublishedRun, columns: pa.Table, image_id: str | None) -> Iterator[Finding]:
    table = _table(run)
    every = pa.array(range(len(columns)), pa.uint64())
    numbers = every if image_id is None else every.filter(_is(columns, image_id).combine_chunks())
    for number, values in zip(numbers.to_pylist(), columns.take(numbers).to_pylist(), strict=True):
        pictures = tuple(name for name in table.images if values.pop(f"{name}?"))
        yield Finding(run, table, number, values, pictures)


def _is(table: pa.Table, image_id: str) -> pa.ChunkedArray:
    return pc.or_(pc.equal(table["image_id"], image_id), pc.equal(table["uri"], image_id))


def _table(run: PublishedRun) -> Table:
    if run.job not in TABLE_OF:
        raise QueryError(f"run {run.run!r} is of kind {run.job.value!r}, not an instrument; query its tables instead")
    return TABLE_OF[run.job]
