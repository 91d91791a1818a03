"""What the pages of all instruments have in common. Takes a run and its rows, gives fields of pages."""

from collections.abc import Sequence
from typing import Any

from service.atlas import links
from service.atlas.pages import parts
from service.atlas.pages.rows import image_row_of
from service.atlas.pages.values import Page, PageOfList, RunCard
from service.query.catalog import PublishedRun
from service.query.findings import TABLE_OF, Finding

MOST = 40  # images on a page


class FoundPage(PageOfList):
    """What a run of an instrument found, some images of it."""

    run: RunCard
    rejects_by_reason: dict[str, int]
    says: tuple[str, ...]


class FindingPage(Page):
    """One row of an instrument's table: `number` is its place there."""

    run: RunCard
    says: tuple[str, ...]
    number: int
    previous: str | None
    next: str | None


def page_fields(
    run: PublishedRun, note: str, items: Sequence[Any], start: int, size: int = MOST
) -> tuple[Sequence[Any], dict[str, Any]]:
    """The items of a page from `start` on, and the fields that all pages of findings have."""
    start = parts.begun(start, len(items), size)
    shown = items[start : start + size]
    return shown, {
        "title": run.run,
        "run": parts.of_run(run),
        "rejects_by_reason": dict(run.rejects_by_reason),
        "says": (note,),
        "total": len(items),
        "first": start + 1,
        "last": start + len(shown),
        "previous": links.run(run, max(0, start - size)) if start else None,
        "next": links.run(run, start + size) if start + size < len(items) else None,
    }


def by_image(rows: Sequence[Finding]) -> list[list[Finding]]:
    """Rows grouped by image, in the order of the table."""
    groups: dict[int, list[Finding]] = {}
    for row in rows:
        groups.setdefault(row.values["image_index"], []).append(row)
    return list(groups.values())


def row_fields(row: Finding, note: str, title: str) -> dict[str, Any]:
    """The fields that the pages of all rows have."""
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
