"""Pages of the randomisation check. Takes runs and rows of their table, gives the values that pages show."""

from typing import Annotated, Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, FoundPage, page_fields, row_fields
from service.atlas.pages import sanity
from service.atlas.pages.rows import Columns, ImageRow, Of, image_row_of, shown_values
from service.atlas.pages.sanity import LayerCurves, UnitTable
from service.query.catalog import PublishedRun
from service.query.findings import Finding, findings
from service.query.sanity import METHODS
from service.query.sanity_units import units
from workers.store.tables.sanity import SANITY

NOTE = "These projections use random weights. Structure that remains does not come from what those layers had learned."
UNITS_SHOWN = 12  # of a randomisation check


class SanityPage(FoundPage):
    """The curves of a randomisation check, the top layer first, and some units."""

    kind: Literal["sanity"] = "sanity"
    layers: tuple[LayerCurves, ...]
    units: tuple[UnitTable, ...]
    methods: dict[str, str]
    cascade: bool


class SanityUnitPage(FindingPage):
    """The unit that a row of a randomisation check belongs to."""

    kind: Literal["sanity_unit"] = "sanity_unit"
    found: Annotated[ImageRow, Of(SANITY, whole=True)]
    unit: UnitTable
    layers: tuple[LayerCurves, ...]
    rows: tuple[Annotated[Columns, Of(SANITY)], ...]
    methods: dict[str, str]


def run_page(_: Atlas, run: PublishedRun, start: int) -> SanityPage:
    """The page of a run."""
    rows = findings(run)
    every = units(rows)
    shown, about = page_fields(run, NOTE, every, start, UNITS_SHOWN)
    return SanityPage(
        **about,
        layers=sanity.all_curves(rows),
        units=tuple(sanity.of_unit(each) for each in shown),
        methods=dict(METHODS),
        cascade=any(unit.cascade for unit in every),
    )


def row_page(_: Atlas, row: Finding) -> SanityUnitPage:
    """The unit that a row belongs to, its curves, and its neighbours."""
    every, run = units(findings(row.run)), row.run
    at = sanity.unit_of_row(every, row.number)
    unit = every[at]
    about = row_fields(row, NOTE, unit.title) | {
        "previous": links.row(run, every[at - 1].every[0].number) if at else None,
        "next": links.row(run, every[at + 1].every[0].number) if at + 1 < len(every) else None,
    }
    return SanityUnitPage(
        **about,
        found=image_row_of(row),
        unit=sanity.of_unit(unit),
        layers=(sanity.curves_of_unit(unit),),
        rows=tuple(Columns(**shown_values(each)) for each in unit.every),
        methods=dict(METHODS),
    )


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(SanityPage,),
    row_pages=(SanityUnitPage,),
    report_units=True,
)
