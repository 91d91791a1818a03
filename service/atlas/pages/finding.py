"""The page of one row of an instrument's table. Takes a row, gives the values that the page shows and its JSON twin sends."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import JsonValue

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages import parts, perturbations, sanity
from service.atlas.pages.parts import SAYS
from service.atlas.pages.perturbations import Amount, Bars, Charts
from service.atlas.pages.rows import Columns, ImageRow, Of, Row, image_row_of, row_of
from service.atlas.pages.sanity import LayerCurves, UnitTable
from service.atlas.pages.values import Link, Page, RunCard, Value
from service.query.catalog import PublishedRun
from service.query.findings import MAPS, TABLE_OF, Finding, finding, findings
from service.query.perturbations import TITLES
from service.query.sanity import METHODS
from service.query.sanity_units import units
from workers.pictures import colours
from workers.store.tables.correspondence import CORRESPONDENCE
from workers.store.tables.evolve import EVOLUTION
from workers.store.tables.filters import FILTERS
from workers.store.tables.invariance import INVARIANCE
from workers.store.tables.invert import INVERSIONS
from workers.store.tables.occlude import OCCLUSIONS
from workers.store.tables.sanity import SANITY

CURVE = (320.0, 100.0)  # width and height of the figure of an error curve


class FindingPage(Page):
    """One row of an instrument's table: `number` is its place there."""

    run: RunCard
    says: tuple[str, ...]
    number: int
    previous: str | None
    next: str | None


class Colour(Value):
    """What a colour means."""

    name: str
    colour: str


class OcclusionPage(FindingPage):
    """An occlusion: its maps as pictures, and where they lie on the input, in pixels."""

    kind: Literal["occlusion"] = "occlusion"
    found: Annotated[ImageRow, Of(OCCLUSIONS, whole=True)]
    maps: dict[str, str]
    side: int
    first: float
    at: tuple[int, int]
    legend: tuple[Colour, ...]
    scans: tuple[Link, ...]


class InversionPage(FindingPage):
    """An inversion; its curve is points of a figure."""

    kind: Literal["inversion"] = "inversion"
    found: Annotated[ImageRow, Of(INVERSIONS, whole=True)]
    settings: dict[str, JsonValue]
    curve: str


class FilterPage(FindingPage):
    """A kernel."""

    kind: Literal["filter"] = "filter"
    found: Annotated[Row, Of(FILTERS, whole=True)]


class FramePage(FindingPage):
    """A channel at one checkpoint, and where its strip is."""

    kind: Literal["frame"] = "frame"
    found: Annotated[ImageRow, Of(EVOLUTION, whole=True)]
    strip: str


class MovedPage(FindingPage, Charts):
    """A moved image: its curves, and where it is `at` on them."""

    kind: Literal["moved"] = "moved"
    found: Annotated[ImageRow, Of(INVARIANCE, whole=True)]
    at: float
    what: str
    amounts: tuple[Amount, ...]


class PartPage(FindingPage, Bars):
    """A part in a layer, beside random places."""

    kind: Literal["part"] = "part"
    found: Annotated[Row, Of(CORRESPONDENCE, whole=True)]


class SanityUnitPage(FindingPage):
    """The unit that a row of a randomisation check belongs to."""

    kind: Literal["sanity_unit"] = "sanity_unit"
    found: Annotated[ImageRow, Of(SANITY, whole=True)]
    unit: UnitTable
    layers: tuple[LayerCurves, ...]
    rows: tuple[Annotated[Columns, Of(SANITY)], ...]
    methods: dict[str, str]


def of_row(atlas: Atlas, run_id: str, number: int) -> FindingPage:
    """One row: an occlusion with its maps, an inversion with its curve, a kernel; a random network's with all of its unit."""
    row = finding(atlas.run(run_id), number)
    return ROWS[row.run.job](atlas, row)


def _about(row: Finding, title: str) -> dict[str, Any]:
    """The fields that the pages of all rows have."""
    run, number = row.run, row.number
    last = sum(part.rows for part in run.tables[TABLE_OF[run.job].name]) - 1
    return {
        "title": title,
        "run": parts.of_run(run),
        "says": (SAYS[run.job],),
        "number": number,
        "previous": links.row(run, number - 1) if number else None,
        "next": links.row(run, number + 1) if number < last else None,
    }


def _about_image(row: Finding) -> dict[str, Any]:
    return {**_about(row, row.values["image_id"]), "found": image_row_of(row)}


def _occlusion(atlas: Atlas, row: Finding) -> OcclusionPage:
    """Its maps as pictures, where they lie on the input, the colours of classes, and the same channel in scans."""
    values, run = row.values, row.run
    return OcclusionPage(
        **_about_image(row),
        maps={name: links.picture(run, row.number, name) for name in MAPS if values[name]},
        side=run.input_height,
        first=(values["size"] - values["stride"]) / 2,
        at=(values["rows"] // 2, values["cols"] // 2),
        legend=tuple(_legend(values["classes"])),
        scans=tuple(
            Link(run=each.run, href=links.channel(each, values["layer"], values["channel"]))
            for each in _scans(atlas, run, values["layer"])
        ),
    )


def _legend(classes: Sequence[Mapping[str, Any]]) -> Iterator[Colour]:
    names = {each["class_index"]: each["class_name"] or f"class {each['class_index']}" for each in classes}
    shown = colours.class_colours([each["class_index"] for each in classes])
    for index, colour in shown.items():
        yield Colour(name=names[index], colour=colours.hexadecimal(colour))
    if len(classes) > len(shown):
        more = len(classes) - len(shown)
        yield Colour(name=f"{more} others", colour=colours.hexadecimal(colours.OTHER_CLASS))


def _scans(atlas: Atlas, run: PublishedRun, layer: str) -> Iterator[PublishedRun]:
    """The scans of the same model and corpus that have a layer."""
    for each in parts.scans_beside(atlas, run):
        if each.model == run.model and any(about.name == layer for about in each.layers):
            yield each


def _inversion(_: Atlas, row: Finding) -> InversionPage:
    settings, curve = json.loads(row.values["settings"]), _curve(row.values["error_curve"])
    return InversionPage(**_about_image(row), settings=settings, curve=curve)


def _filter(_: Atlas, row: Finding) -> FilterPage:
    return FilterPage(**_about(row, f"kernel {row.values['channel']}"), found=row_of(row))


def _frame(_: Atlas, row: Finding) -> FramePage:
    values = row.values
    title = f"channel {values['channel']} at {values['checkpoint_name']}"
    strip = links.strips(row.run, values["layer"], values["channel"])
    return FramePage(**_about(row, title), found=image_row_of(row), strip=strip)


def _moved(_: Atlas, row: Finding) -> MovedPage:
    rows = perturbations.same_transform(row)
    return MovedPage(
        **_about_image(row),
        **vars(perturbations.charts(rows)),
        at=perturbations.place(row, rows),
        what=TITLES[row.values["transform"]],
        amounts=perturbations.amounts(row, rows),
    )


def _part(_: Atlas, row: Finding) -> PartPage:
    title = f"{row.values['part']} in {row.values['layer']}, {row.values['kind']}"
    bars = perturbations.bars(perturbations.same_part(row))
    return PartPage(**_about(row, title), **vars(bars), found=row_of(row))


def _sanity_unit(_: Atlas, row: Finding) -> SanityUnitPage:
    """The unit that a row belongs to, its curves, and its neighbours."""
    every, run = units(findings(row.run)), row.run
    at = sanity.unit_of_row(every, row.number)
    unit = every[at]
    about = _about(row, unit.title) | {
        "previous": links.row(run, every[at - 1].every[0].number) if at else None,
        "next": links.row(run, every[at + 1].every[0].number) if at + 1 < len(every) else None,
    }
    return SanityUnitPage(
        **about,
        found=image_row_of(row),
        unit=sanity.of_unit(unit),
        layers=(sanity.curves_of_unit(unit),),
        rows=tuple(Columns(**each.values) for each in unit.every),
        methods=dict(METHODS),
    )


def _curve(errors: Sequence[float | None] | None) -> str:
    """An error curve as the points of a figure; heights are on a logarithmic scale from 1e-4 to 10."""
    width, height = CURVE
    known = [(n, error) for n, error in enumerate(errors or ()) if error is not None and error > 0]
    last = max(1, len(errors or ()) - 1)
    points = [(n / last * width, height * (1 - min(1.0, max(0.0, (math.log10(error) + 4) / 5)))) for n, error in known]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


ROWS: Mapping[str, Callable[[Atlas, Finding], FindingPage]] = {
    "occlude": _occlusion,
    "invert": _inversion,
    "sanity": _sanity_unit,
    "filters": _filter,
    "evolve": _frame,
    "invariance": _moved,
    "correspondence": _part,
}
