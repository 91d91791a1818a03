"""Pages about what instruments found. Takes a run and its rows, gives the values that pages show and JSON twins send."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from service.atlas import links
from service.atlas.pages import evolution, parts, perturbations, sanity
from service.atlas.pages.evolution import EvolutionPage
from service.atlas.pages.parts import SAYS
from service.atlas.pages.perturbations import CURVES_SHOWN, Bars, Charts, MovedImage
from service.atlas.pages.rows import ImageRow, Of, Row, image_row_of, row_of
from service.atlas.pages.sanity import LayerCurves, UnitTable
from service.atlas.pages.values import PageOfList, RunCard, Value
from service.query.catalog import PublishedRun
from service.query.findings import Finding, findings
from service.query.sanity import METHODS
from service.query.sanity_units import units
from workers.errors import QueryError, nearest
from workers.store.tables.filters import FILTERS
from workers.store.tables.invert import INVERSIONS
from workers.store.tables.occlude import OCCLUSIONS

MOST = 40  # images on a page
UNITS_SHOWN = 12  # of a randomisation check


class FoundPage(PageOfList):
    """What a run of an instrument found, some images of it."""

    run: RunCard
    rejects_by_reason: dict[str, int]
    says: tuple[str, ...]


class OcclusionsPage(FoundPage):
    """Occlusions."""

    kind: Literal["occlusions"] = "occlusions"
    found: tuple[Annotated[ImageRow, Of(OCCLUSIONS)], ...]


class FiltersPage(FoundPage):
    """All kernels: they are small."""

    kind: Literal["filters"] = "filters"
    found: tuple[Annotated[Row, Of(FILTERS)], ...]


class Restart(Value):
    """An image's inversions of one restart, by layer."""

    restart: int
    found: tuple[Annotated[ImageRow, Of(INVERSIONS)] | None, ...]


class InvertedImage(Value):
    """An image's inversions as Figures 6 and 7 of the paper have them: a line per restart, a column per layer."""

    image_id: str
    href: str
    original: str | None
    restarts: tuple[Restart, ...]


class InversionsPage(FoundPage):
    """Inversions by image."""

    kind: Literal["inversions"] = "inversions"
    layers: tuple[str, ...]
    images: tuple[InvertedImage, ...]


class InvariancePage(FoundPage, Charts):
    """Curves and pictures of moved images."""

    kind: Literal["invariance"] = "invariance"
    images: tuple[MovedImage, ...]
    border: str | None


class CorrespondencePage(FoundPage, Bars):
    """Parts by layer."""

    kind: Literal["correspondence"] = "correspondence"


class SanityPage(FoundPage):
    """The curves of a randomisation check, the top layer first, and some units."""

    kind: Literal["sanity"] = "sanity"
    layers: tuple[LayerCurves, ...]
    units: tuple[UnitTable, ...]
    methods: dict[str, str]
    cascade: bool


def of_run(found: PublishedRun, start: int = 0) -> FoundPage | EvolutionPage:
    """What a run of an instrument found, some images of it.

    Raises:
        QueryError: the run is of another kind.
    """
    if found.job not in KINDS:
        raise QueryError(f"run {found.run!r} is of the job {found.job!r}; {nearest(found.job, KINDS)}")
    return KINDS[found.job](found, start)


def _occlusions(run: PublishedRun, start: int) -> OcclusionsPage:
    groups = _by_image(findings(run))
    shown, about = _about(run, groups, start, MOST)
    return OcclusionsPage(**about, found=tuple(image_row_of(each) for group in shown for each in group))


def _filters(run: PublishedRun, start: int) -> FiltersPage:
    rows = findings(run)
    _, about = _about(run, [rows], start, MOST)
    return FiltersPage(**about, found=tuple(row_of(each) for each in rows))


def _inversions(run: PublishedRun, start: int) -> InversionsPage:
    rows = findings(run)
    layers = tuple(dict(sorted({(row.values["layer_index"], row.values["layer"]) for row in rows})).values())
    shown, about = _about(run, _by_image(rows), start, MOST)
    return InversionsPage(**about, layers=layers, images=tuple(_inverted(group, layers) for group in shown))


def _invariance(run: PublishedRun, start: int) -> InvariancePage:
    groups, about = _about(run, _by_image(findings(run)), start, CURVES_SHOWN)
    shown = [row for group in groups for row in group]
    charts, images = perturbations.charts(shown), perturbations.moved_images(groups)
    border = shown[0].values["border"] if shown else None
    return InvariancePage(**about, **vars(charts), images=images, border=border)


def _correspondence(run: PublishedRun, start: int) -> CorrespondencePage:
    rows = findings(run)
    _, about = _about(run, [rows], start, MOST)
    return CorrespondencePage(**about, **vars(perturbations.bars(rows)))


def _sanity(run: PublishedRun, start: int) -> SanityPage:
    rows = findings(run)
    every = units(rows)
    shown, about = _about(run, every, start, UNITS_SHOWN)
    return SanityPage(
        **about,
        layers=sanity.all_curves(rows),
        units=tuple(sanity.of_unit(each) for each in shown),
        methods=dict(METHODS),
        cascade=any(unit.cascade for unit in every),
    )


def _about(run: PublishedRun, items: Sequence[Any], start: int, size: int) -> tuple[Sequence[Any], dict[str, Any]]:
    """The items of a page from `start` on, and the fields that all pages of findings have."""
    start = parts.begun(start, len(items), size)
    shown = items[start : start + size]
    return shown, {
        "title": run.run,
        "run": parts.of_run(run),
        "rejects_by_reason": dict(run.rejects_by_reason),
        "says": (SAYS[run.job],),
        "total": len(items),
        "first": start + 1,
        "last": start + len(shown),
        "previous": links.run(run, max(0, start - size)) if start else None,
        "next": links.run(run, start + size) if start + size < len(items) else None,
    }


def _by_image(rows: Sequence[Finding]) -> list[list[Finding]]:
    groups: dict[int, list[Finding]] = {}
    for row in rows:
        groups.setdefault(row.values["image_index"], []).append(row)
    return list(groups.values())


def _inverted(rows: Sequence[Finding], layers: Sequence[str]) -> InvertedImage:
    lines: dict[int, list[ImageRow | None]] = {}
    for row in rows:
        line = lines.setdefault(row.values["restart"], [None] * len(layers))
        line[layers.index(row.values["layer"])] = image_row_of(row)
    first = image_row_of(rows[0])
    return InvertedImage(
        image_id=rows[0].values["image_id"],
        href=first.image_href,
        original=first.pictures.get("original"),
        restarts=tuple(Restart(restart=number, found=tuple(line)) for number, line in sorted(lines.items())),
    )


def _evolution(run: PublishedRun, _: int) -> EvolutionPage:
    return evolution.of_run(run)


KINDS: Mapping[str, Callable[[PublishedRun, int], FoundPage | EvolutionPage]] = {
    "occlude": _occlusions,
    "invert": _inversions,
    "sanity": _sanity,
    "filters": _filters,
    "evolve": _evolution,
    "invariance": _invariance,
    "correspondence": _correspondence,
}
