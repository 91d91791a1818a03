"""Pages of a training run. Takes runs and rows of their table, gives the values that pages show."""

from typing import Annotated, Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, row_fields
from service.atlas.pages import evolution
from service.atlas.pages.evolution import NOTE, EvolutionPage
from service.atlas.pages.rows import ImageRow, Of, image_row_of
from service.query.catalog import PublishedRun
from service.query.findings import Finding
from workers.store.tables.evolve import EVOLUTION


class FramePage(FindingPage):
    """A channel at one checkpoint, and the address of its strip."""

    kind: Literal["frame"] = "frame"
    found: Annotated[ImageRow, Of(EVOLUTION, whole=True)]
    strip: str


def run_page(_: Atlas, run: PublishedRun, __: int) -> EvolutionPage:
    """The page of a run."""
    return evolution.of_run(run)


def row_page(_: Atlas, row: Finding) -> FramePage:
    """The page of one row."""
    values = row.values
    title = f"channel {values['channel']} at {values['checkpoint_name']}"
    strip = links.strips(row.run, values["layer"], values["channel"], "channel")
    found = image_row_of(row)
    exact = {name: links.picture(row.run, row.number, name, "exact") for name in found.pictures}
    return FramePage(**row_fields(row, NOTE, title), found=found.model_copy(update={"pictures": exact}), strip=strip)


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(EvolutionPage,),
    row_pages=(FramePage,),
    report_figure=True,
)
