"""Pages of invariance. Takes runs and rows of their table, gives the values that pages show."""

from typing import Annotated, Literal

from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, FoundPage, by_image, image_row_fields, page_fields
from service.atlas.pages import perturbations
from service.atlas.pages.perturbations import CURVES_SHOWN, Amount, Charts, MovedImage
from service.atlas.pages.rows import ImageRow, Of
from service.query.catalog import PublishedRun
from service.query.findings import Finding, findings
from service.query.perturbations import TITLES
from workers.store.tables.invariance import INVARIANCE

NOTE = "Curves show how far features move with the image, not why. Pixels beyond the image's border are made up."


class InvariancePage(FoundPage, Charts):
    """Curves and pictures of moved images."""

    kind: Literal["invariance"] = "invariance"
    images: tuple[MovedImage, ...]
    border: str | None


class MovedPage(FindingPage, Charts):
    """A moved image: its curves, and its position `at` on them."""

    kind: Literal["moved"] = "moved"
    found: Annotated[ImageRow, Of(INVARIANCE, whole=True)]
    at: float
    what: str
    amounts: tuple[Amount, ...]


def run_page(_: Atlas, run: PublishedRun, start: int) -> InvariancePage:
    """The page of a run."""
    groups, about = page_fields(run, NOTE, by_image(findings(run)), start, CURVES_SHOWN)
    shown = [row for group in groups for row in group]
    charts, images = perturbations.charts(shown), perturbations.moved_images(groups)
    border = shown[0].values["border"] if shown else None
    return InvariancePage(**about, **vars(charts), images=images, border=border)


def row_page(_: Atlas, row: Finding) -> MovedPage:
    """The page of one row."""
    rows = perturbations.same_transform(row)
    return MovedPage(
        **image_row_fields(row, NOTE),
        **vars(perturbations.charts(rows)),
        at=perturbations.place(row, rows),
        what=TITLES[row.values["transform"]],
        amounts=perturbations.amounts(row, rows),
    )


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(InvariancePage,),
    row_pages=(MovedPage,),
    report_figure=True,
)
