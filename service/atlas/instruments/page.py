"""Fields that the pages of all instruments share. Takes a run and its rows, gives fields of pages."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from service.atlas import links
from service.atlas.pages import parts
from service.atlas.pages.rows import image_row_of
from service.atlas.pages.values import Page, PageOfList, RunCard
from service.query.catalog import PublishedRun
from service.query.findings import TABLE_OF, Finding

MOST = 40  # images on a page
CURVE = (320.0, 100.0)  # width and height of the figure of a curve


class FoundPage(PageOfList):
    """A page of an instrument's run: some of its images or rows."""

    run: RunCard
    rejects_by_reason: dict[str, int]
    says: tuple[str, ...]


class FindingPage(Page):
    """One row of an instrument's table: `number` is its position there."""

    run: RunCard
    says: tuple[str, ...]
    number: int
    previous: str | None
    next: str | None


def page_fields(
    run: PublishedRun, note: str, items: Sequence[Any], start: int, size: int = MOST
) -> tuple[Sequence[Any], dict[str, Any]]:
    """The items of a page from `start` on, and the fields of a `FoundPage`."""
    shown, fields = parts.paginate(items, start, size, partial(links.run, run))
    return shown, {
        "title": run.run,
        "run": parts.of_run(run),
        "rejects_by_reason": dict(run.rejects_by_reason),
        "says": (note,),
        **fields,
    }


def by_image(rows: Sequence[Finding]) -> list[list[Finding]]:
    """Rows grouped by image, in the order of the table."""
    groups: dict[int, list[Finding]] = {}
    for row in rows:
        groups.setdefault(row.values["image_index"], []).append(row)
    return list(groups.values())


def row_fields(row: Finding, note: str, title: str) -> dict[str, Any]:
    """The fields of a `FindingPage`."""
    run, number = row.run, row.number
    last = sum(part.rows for part in run.tables[TABLE_OF[run.job].name]) - 1
    return {
        "title": title,
        "run": parts.of_run(run),
        "says": (note,),
        "number": number,
        "previous": links.row(run, number - 1) if number else None,
        "next": links.row(run, number + 1) if number < last else None,
    }


def image_row_fields(row: Finding, note: str) -> dict[str, Any]:
    """The fields of a page about a row of an image."""
    return {**row_fields(row, note, row.values["image_id"]), "found": image_row_of(row)}


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """The points of a figure of a curve, from shares of its width, and of its height counted from the top."""
    width, height = CURVE
    return " ".join(f"{x * width:.1f},{y * height:.1f}" for x, y in points)
