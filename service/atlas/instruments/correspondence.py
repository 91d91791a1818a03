"""Pages of correspondence. Takes runs and rows of their table, gives the values that pages show."""

from typing import Annotated, Literal

from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, FoundPage, page_fields, row_fields
from service.atlas.pages import perturbations
from service.atlas.pages.perturbations import Bars
from service.atlas.pages.rows import Of, Row, row_of
from service.query.catalog import PublishedRun
from service.query.findings import Finding, findings
from workers.store.tables.correspondence import CORRESPONDENCE

NOTE = (
    "Does hiding a part change a layer in the same way in all images? Compare with random places shared by all images."
)


class CorrespondencePage(FoundPage, Bars):
    """Parts by layer."""

    kind: Literal["correspondence"] = "correspondence"


class PartPage(FindingPage, Bars):
    """A part in a layer, beside random places."""

    kind: Literal["part"] = "part"
    found: Annotated[Row, Of(CORRESPONDENCE, whole=True)]


def run_page(__: Atlas, run: PublishedRun, start: int) -> CorrespondencePage:
    """The page of a run."""
    rows = findings(run)
    _, about = page_fields(run, NOTE, [rows], start)
    return CorrespondencePage(**about, **vars(perturbations.bars(rows)))


def row_page(_: Atlas, row: Finding) -> PartPage:
    """The page of one row."""
    title = f"{row.values['part']} in {row.values['layer']}, {row.values['kind']}"
    bars = perturbations.bars(perturbations.same_part(row))
    return PartPage(**row_fields(row, NOTE, title), **vars(bars), found=row_of(row))


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(CorrespondencePage,),
    row_pages=(PartPage,),
    report_figure=True,
)
