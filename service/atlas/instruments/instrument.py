"""What the atlas knows about an instrument. Takes functions and classes of pages, gives one record per kind of job."""

from collections.abc import Callable
from dataclasses import dataclass

from service.atlas.atlas import Atlas
from service.atlas.pages.values import Page
from service.query.catalog import PublishedRun
from service.query.findings import Finding

LARGEST_REPORT = 40  # rows in a report


@dataclass(frozen=True)
class Instrument:
    """The pages of one kind of job, and what a report shows of its runs.

    Attributes:
        note: one line below its pictures: what they show, and what they do not.
        run_page: makes the page of a run, from some image on.
        row_page: makes the page of one row of its table.
        run_pages: classes of `run_page`'s result.
        row_pages: classes of `row_page`'s result.
        report_pictures: image columns in a report.
        report_rows: largest number of rows in a report; None for all.
        report_figure: whether a report shows the run's sheet.
        report_units: whether a report shows curves and units of the randomisation check.
    """

    note: str
    run_page: Callable[[Atlas, PublishedRun, int], Page]
    row_page: Callable[[Atlas, Finding], Page]
    run_pages: tuple[type[Page], ...]
    row_pages: tuple[type[Page], ...]
    report_pictures: tuple[str, ...] = ()
    report_rows: int | None = LARGEST_REPORT
    report_figure: bool = False
    report_units: bool = False
