"""Pages of occlusion. Takes runs and rows of their table, gives the values that pages show."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, FoundPage, by_image, image_row_fields, page_fields
from service.atlas.pages import parts
from service.atlas.pages.rows import ImageRow, Of, image_row_of
from service.atlas.pages.values import Link, Value
from service.query.catalog import PublishedRun
from service.query.findings import MAPS, PANELS, Finding, findings
from workers.pictures import colours
from workers.store.tables.occlude import OCCLUSIONS

NOTE = "A square hides part of the image. If an activation or probability falls, it depended on that part."


class OcclusionsPage(FoundPage):
    """Occlusions."""

    kind: Literal["occlusions"] = "occlusions"
    found: tuple[Annotated[ImageRow, Of(OCCLUSIONS)], ...]


class Colour(Value):
    """What a colour means."""

    name: str
    colour: str


class OcclusionPage(FindingPage):
    """An occlusion: its maps as pictures, and where they lie on the input, in pixels."""

    kind: Literal["occlusion"] = "occlusion"
    found: Annotated[ImageRow, Of(OCCLUSIONS, whole=True)]
    maps: dict[str, str]
    input: tuple[int, int]
    first: float
    at: tuple[int, int]
    legend: tuple[Colour, ...]
    scans: tuple[Link, ...]


def run_page(_: Atlas, run: PublishedRun, start: int) -> OcclusionsPage:
    """The page of a run."""
    groups = by_image(findings(run))
    shown, about = page_fields(run, NOTE, groups, start)
    return OcclusionsPage(**about, found=tuple(image_row_of(each) for group in shown for each in group))


def row_page(atlas: Atlas, row: Finding) -> OcclusionPage:
    """Its maps as pictures, where they lie on the input, the colours of classes, and the same channel in scans."""
    values, run = row.values, row.run
    return OcclusionPage(
        **image_row_fields(row, NOTE),
        maps={name: links.picture(run, row.number, name) for name in MAPS if values[name]},
        input=(run.input_height, run.input_width),
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
        more = colours.describe_others(len(classes) - len(shown))
        yield Colour(name=more, colour=colours.hexadecimal(colours.OTHER_CLASS))


def _scans(atlas: Atlas, run: PublishedRun, layer: str) -> Iterator[PublishedRun]:
    """The scans of the same model and corpus that have a layer."""
    for each in parts.scans_beside(atlas, run):
        if each.model == run.model and any(about.name == layer for about in each.layers):
            yield each


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(OcclusionsPage,),
    row_pages=(OcclusionPage,),
    report_pictures=PANELS,
)
