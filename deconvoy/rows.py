"""Rows of a run's tables. Takes published runs, gives Arrow tables, and an instrument's rows with their pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deconvoy.pictures import Picture
from service.atlas.pictures import Pictures
from service.query import reading
from service.query.catalog import PublishedRun
from service.query.findings import Finding
from workers.errors import QueryError, nearest
from workers.pictures.encode import strip
from workers.store.tables.registry import TABLES

STRIP_PX = 224  # side of each picture of a displayed row


def read_table(run: PublishedRun, name: str, columns: Sequence[str] | None, where: pc.Expression | None) -> pa.Table:
    """Rows of one of a run's tables, in its order; see `Run.table`."""
    if name not in run.tables or name not in TABLES:
        raise QueryError(f"run {run.run!r} has no table {name!r}; {nearest(name, run.tables)}")
    schema = TABLES[name].schema
    wanted = list(schema.names if columns is None else columns)
    for column in wanted:
        if column not in schema.names:
            raise QueryError(f"table {name!r} has no column {column!r}; {nearest(column, schema.names)}")
    condition = pc.scalar(True) if where is None else where
    try:
        schema.empty_table().filter(condition)
    except (pa.ArrowException, TypeError) as error:
        raise QueryError(f"table {name!r} cannot be filtered: {error}") from error
    return reading.read(run, TABLES[name], condition, wanted)


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the table of an instrument: an occlusion, an inversion, a filter, ... A notebook shows its pictures.

    Attributes:
        run: run id.
        number: the row's place in the table, from 0.
        values: columns by name, without pictures; lists only in rows from `Run.row`.
        pictures: names of the image columns in which this row has a picture.
    """

    run: str
    number: int
    values: Mapping[str, Any]
    pictures: tuple[str, ...]
    _finding: Finding
    _pictures: Pictures

    def __repr__(self) -> str:
        return f"<deconvoy.Row {self.number} of {self._finding.table.name!r}: {dict(self.values)}>"

    def picture(self, column: str) -> Picture:
        """One of the row's pictures, or a map of an occlusion, one pixel for each position of the square.

        Raises:
            QueryError: the row has no such picture.
            DamagedRun: the run's files are not the ones that its manifest names.
        """
        picture = self._pictures.of_row(self._finding.run, self.number, column)
        return Picture(picture.data, picture.media)

    def _repr_png_(self) -> bytes | None:
        if not self.pictures:
            return None
        shown = strip([self.picture(name).data for name in self.pictures], STRIP_PX)
        return Picture(shown, "image/webp")._repr_png_()
