"""The published runs of a root. Takes a path or URL, gives runs with their facts, layers, tables and rows."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deconvoy.layers import Layer
from deconvoy.pictures import Picture, encode_png
from deconvoy.rows import Row, read_table
from service.atlas.atlas import Atlas as Published
from service.atlas.pictures import Pictures
from service.query import findings, notes
from service.query.catalog import PublishedRun
from service.query.findings import Finding
from service.query.notes import ChannelNote
from service.sheets import boards
from workers.errors import QueryError, RootError, RunError
from workers.store.root import Root


def open(root: str | PathLike[str]) -> "Atlas":
    """Open a root for reading.

    Args:
        root: a folder, or an fsspec URL such as `s3://bucket/atlas`.

    Raises:
        RootError: the folder does not exist, or the URL cannot be used.
    """
    opened = Root(fspath(root))
    if opened.is_local and not Path(opened.base or "/").is_dir():
        raise RootError(f"root {opened.url!r} is not a folder")
    return Atlas(opened)


class Atlas:
    """The published runs of a root. Safe to use from many threads. Each manifest is read once; the list of runs is renewed."""

    def __init__(self, root: Root) -> None:
        self._published = Published(root)
        self._pictures = Pictures(self._published)

    def __repr__(self) -> str:
        return f"<deconvoy.Atlas {self.url!r}>"

    @property
    def url(self) -> str:
        """Where the root is."""
        return self._published.root.url

    @property
    def runs(self) -> tuple["Run", ...]:
        """The published runs whose manifests can be read, newest first. A run published in the last two seconds may be missing.

        Raises:
            StoreError: the store does not answer.
            Unavailable: the store does not answer in time.
        """
        return tuple(Run(run, self._pictures) for run in self._published.runs())

    @property
    def damaged(self) -> Mapping[str, str]:
        """The reasons why manifests of other runs cannot be read, by run id."""
        return self._published.damaged()

    def run(self, run: str | None = None) -> "Run":
        """A published run by its id, or the newest one.

        Raises:
            RunError: the run is not published, or no run is.
            DamagedRun: its manifest cannot be read.
        """
        if run is not None:
            return Run(self._published.run(run), self._pictures)
        if not (runs := self.runs):
            raise RunError(f"root {self.url!r} has no published runs")
        return runs[0]


class Run:
    """One published run of any kind. A published run never changes.

    Attributes:
        about: the content of its manifest: `run`, `job`, `created`, `model`, `corpus`, `images`, `rejects`, `spec`, ...
    """

    def __init__(self, about: PublishedRun, pictures: Pictures) -> None:
        self.about, self._pictures = about, pictures

    def __repr__(self) -> str:
        return f"<deconvoy.Run {self.id!r}, {self.kind} of {self.about.model!r} over {self.about.images:,} images>"

    @property
    def id(self) -> str:
        """The run id."""
        return self.about.run

    @property
    def kind(self) -> str:
        """The kind of job: scan, occlude, invert, ..."""
        return self.about.job

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The run's layers in the order of the graph; empty for kinds without layers."""
        return tuple(Layer(self.about, layer, self._pictures) for layer in self.about.layers)

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the run's tables."""
        return tuple(self.about.tables)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of an instrument's table, in its order, without lists; pictures are read on demand.

        Raises:
            QueryError: the run is a scan; read its tables instead.
            DamagedRun: the run's files are not the ones that its manifest names.
        """
        return tuple(map(self._row, findings.findings(self.about)))

    @property
    def notes(self) -> tuple[ChannelNote, ...]:
        """The notes on the channels of the run's network, by layer and channel, as they are now.

        Each has `layer`, `channel`, `text`, `written_at` (UTC, ISO 8601) and `written_by` (the API key, if there was one).

        Raises:
            DamagedFile: a note cannot be read.
        """
        return notes.of_run(self.about)

    def layer(self, name: str) -> Layer:
        """A layer by its name in the model's graph.

        Raises:
            QueryError: the run has no such layer.
        """
        return Layer(self.about, self.about.layer(name), self._pictures)

    def table(self, name: str, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """Rows of a table in the table's order, as an Arrow table; `.to_pandas()` converts it to a DataFrame.

        Args:
            name: one of `tables`; docs/reading.md and the fields' `doc` metadata describe them.
            columns: names of columns; by default all, pictures included.
            where: an expression that selects rows, such as `pyarrow.compute.field("rank") == 0`. A filter by layer and
                channel reads only a small part of a large table.

        Raises:
            QueryError: the run has no such table or column, or the expression does not fit the table.
            DamagedRun: the run's files are not the ones that its manifest names.
        """
        return read_table(self.about, name, columns, where)

    def row(self, number: int) -> Row:
        """One row of an instrument's table, lists included.

        Raises:
            QueryError: the run is a scan, or has no such row.
            DamagedRun: the run's files are not the ones that its manifest names.
        """
        return self._row(findings.finding(self.about, number))

    def sheet(self) -> Picture:
        """The picture of an instrument's run, as `deconvoy query sheet` draws it; needs matplotlib for most kinds.

        Raises:
            QueryError: the run is a scan; its layers have sheets instead.
            DamagedRun: the run's files are not the ones that its manifest names.
        """
        if self.kind not in boards.BOARDS:
            raise QueryError(f"run {self.id!r} is of kind {self.kind!r}, not an instrument; draw its layers instead")
        return encode_png(boards.BOARDS[self.about.job](self.about))

    def _row(self, finding: Finding) -> Row:
        values: Mapping[str, Any] = finding.values
        return Row(self.id, finding.number, values, finding.pictures, finding, self._pictures)
