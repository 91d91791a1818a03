"""Pages of first-layer filters. Takes runs and rows of their table, gives the values that pages show."""

from typing import Annotated, Literal

from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, FoundPage, page_fields, row_fields
from service.atlas.pages.rows import Of, Row, row_of
from service.query.catalog import PublishedRun
from service.query.findings import Finding, findings
from workers.store.tables.filters import FILTERS

NOTE = "The first convolution's kernels, each scaled separately. They show weights, not how often a channel is active."


class FiltersPage(FoundPage):
    """All kernels of a run."""

    kind: Literal["filters"] = "filters"
    found: tuple[Annotated[Row, Of(FILTERS)], ...]


class FilterPage(FindingPage):
    """A kernel."""

    kind: Literal["filter"] = "filter"
    found: Annotated[Row, Of(FILTERS, whole=True)]


def run_page(__: Atlas, run: PublishedRun, start: int) -> FiltersPage:
    """The page of a run."""
    rows = findings(run)
    _, about = page_fields(run, NOTE, [rows], start)
    return FiltersPage(**about, found=tuple(row_of(each) for each in rows))


def row_page(_: Atlas, row: Finding) -> FilterPage:
    """The page of one row."""
    return FilterPage(**row_fields(row, NOTE, f"kernel {row.values['channel']}"), found=row_of(row))


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(FiltersPage,),
    row_pages=(FilterPage,),
    report_pictures=("kernel",),
    report_rows=None,
)
