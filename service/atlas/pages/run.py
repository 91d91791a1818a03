"""The pages of a whole scan: its layers, labels, images and rejects. Takes an atlas and a run, gives the pages' values."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import pyarrow.compute as pc

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments import registry
from service.atlas.pages.parts import of_run, of_state_fields, of_telling, paginate
from service.atlas.pages.values import LayerState, Page, PageOfList, RunCard, TellingCard, Value
from service.query import graph
from service.query.catalog import PublishedRun
from service.query.graph import Rail
from service.query.reading import read
from workers.kinds import Kind
from workers.store.tables.scan import PREVIEWS
from workers.store.tables.shared import IMAGES, REJECTS

IMAGES_SHOWN = 120  # on a page
LABELS_SHOWN = 240
REJECTS_SHOWN = 500
TELLING_SHOWN = 8  # channels of a layer
RELATED_SHOWN = 24


@dataclass(frozen=True, kw_only=True)
class LayerRow(LayerState):
    """A layer with its most selective channels, and the layers that feed it; `rail` draws them, None if there is no map."""

    telling: tuple[TellingCard, ...]
    parents: tuple[str, ...]
    rail: Rail | None


class RelatedRun(Value):
    """Another run of the same model or over the same corpus; `compare` is the page that compares both, if they are scans."""

    run: RunCard
    same_model: bool
    same_corpus: bool
    compare: str | None


class RunPage(Page):
    """A scan: its layers from the image up, and the runs that belong to it."""

    kind: Literal["run"] = "run"
    run: RunCard
    rejects_by_reason: dict[str, int]
    layers: tuple[LayerRow, ...]
    lanes: int
    dead: int
    labels: int
    related: tuple[RelatedRun, ...]
    labels_href: str
    images_href: str
    rejects_href: str


class LabelRow(Value):
    """A label: the number of images that have it, of channels whose most common label it is, and the first of these."""

    label: str
    images: int
    channels: int
    href: str
    first: TellingCard | None


class LabelsPage(PageOfList):
    """All labels of a scan's images, by name."""

    kind: Literal["labels"] = "labels"
    run: RunCard
    labels: tuple[LabelRow, ...]


class ImageRow(Value):
    """An image; `preview` is None if the run has no small copy of it, as it is among no channel's top images."""

    image_id: str
    label: str | None
    href: str
    preview: str | None


class ImagesPage(PageOfList):
    """The images of a scan, in the order of the corpus."""

    kind: Literal["images"] = "images"
    run: RunCard
    images: tuple[ImageRow, ...]


class RejectRow(Value):
    """An image that could not be used, and why."""

    image_id: str
    reason: str
    detail: str


class RejectsPage(PageOfList):
    """The images that could not be used."""

    kind: Literal["rejects"] = "rejects"
    run: RunCard
    rejects_by_reason: dict[str, int]
    rejects: tuple[RejectRow, ...]


def run(atlas: Atlas, run_id: str, start: int = 0) -> Page:
    """One run: the layers of a scan, or the rows of an instrument."""
    published = atlas.run(run_id)
    if published.job != Kind.SCAN:
        return registry.run_page(atlas, published, start)
    card = of_run(published)
    layers = tuple(_layer_rows(atlas, published))
    return RunPage(
        title=card.name,
        description=f"What {card.channels:,} channels of {card.model_name} look for in {card.images:,} images.",
        cover=links.mosaic(published),
        run=card,
        rejects_by_reason=dict(published.rejects_by_reason),
        layers=layers,
        lanes=graph.count_lanes(layer.rail for layer in layers if layer.rail),
        dead=sum(layer.dead for layer in layers),
        labels=len(atlas.labels(published)),
        related=tuple(islice(_related(atlas, published), RELATED_SHOWN)),
        labels_href=links.labels(published),
        images_href=links.images(published),
        rejects_href=links.rejects(published),
    )


def _layer_rows(atlas: Atlas, published: PublishedRun) -> Iterator[LayerRow]:
    overview, parents = atlas.overview(published), graph.read_parents(published)
    names = [layer.name for layer in reversed(published.layers)]
    rails = dict(zip(names, graph.rails(names, parents), strict=False)) if parents else {}
    for layer in published.layers:
        telling = tuple(
            of_telling(published, channel) for channel in overview.telling.get(layer.index, ())[:TELLING_SHOWN]
        )
        yield LayerRow(
            **of_state_fields(atlas, published, layer),
            telling=telling,
            parents=parents.get(layer.name, ()),
            rail=rails.get(layer.name),
        )


def _related(atlas: Atlas, published: PublishedRun) -> Iterator[RelatedRun]:
    """The other runs of the model, then those over the corpus; newest first."""
    names = {layer.name for layer in published.layers}
    others = [other for other in atlas.runs() if other.run != published.run]
    same = sorted(others, key=lambda other: other.model != published.model)  # stable
    for other in same:
        same_model, same_corpus = other.model == published.model, other.corpus == published.corpus != ""
        if same_model or same_corpus:
            is_comparable = other.job == Kind.SCAN and (
                same_corpus or any(layer.name in names for layer in other.layers)
            )
            compare = links.compare(published.run, other.run) if is_comparable else None
            yield RelatedRun(run=of_run(other), same_model=same_model, same_corpus=same_corpus, compare=compare)


def labels(atlas: Atlas, run_id: str, start: int = 0) -> LabelsPage:
    """All labels of a scan's images."""
    published = atlas.run(run_id)
    names, overview = atlas.labels(published), atlas.overview(published)
    shown, about = paginate(names, start, LABELS_SHOWN, lambda first: links.labels(published, first))
    counted = pc.value_counts(read(published, IMAGES, pc.field("label").isin(shown), ["label"])["label"]).to_pylist()
    counts = {row["values"]: row["counts"] for row in counted}
    rows = tuple(
        LabelRow(
            label=name,
            images=counts[name],
            channels=overview.count_of_label(name),
            href=links.label(published, name),
            first=next((of_telling(published, channel) for channel in overview.with_label(name, 1)), None),
        )
        for name in shown
    )
    return LabelsPage(title="Labels", run=of_run(published), labels=rows, **about)


def images(atlas: Atlas, run_id: str, start: int = 0) -> ImagesPage:
    """The images of a scan."""
    published = atlas.run(run_id)
    ids = atlas.image_ids(published)
    numbers, about = paginate(range(len(ids)), start, IMAGES_SHOWN, lambda first: links.images(published, first))
    wanted = pc.field("image_id").isin(ids.slice(numbers[0] if numbers else 0, len(numbers)))
    rows = read(published, IMAGES, wanted, ["image_index", "image_id", "label"]).to_pylist()
    previewed = _previewed(published, rows)
    shown = tuple(_image_row(published, row, previewed) for row in rows)
    return ImagesPage(title="Images", run=of_run(published), images=shown, **about)


def _image_row(published: PublishedRun, row: dict[str, Any], previewed: set[int]) -> ImageRow:
    preview = links.preview(published, row["image_index"]) if row["image_index"] in previewed else None
    return ImageRow(
        image_id=row["image_id"], label=row["label"], href=links.image(published, row["image_id"]), preview=preview
    )


def _previewed(published: PublishedRun, rows: list[dict[str, Any]]) -> set[int]:
    """The images of which the run has a small copy."""
    if PREVIEWS.name not in published.tables:
        return set()
    wanted = pc.field("image_index").isin([row["image_index"] for row in rows])
    return set(read(published, PREVIEWS, wanted, ["image_index"])["image_index"].to_pylist())


def rejects(atlas: Atlas, run_id: str, start: int = 0) -> RejectsPage:
    """The images that could not be used, and why."""
    published = atlas.run(run_id)
    table = read(published, REJECTS, pc.scalar(True), ["image_id", "reason", "detail"])
    numbers, about = paginate(range(len(table)), start, REJECTS_SHOWN, lambda first: links.rejects(published, first))
    shown = table.slice(numbers[0] if numbers else 0, len(numbers)).to_pylist()
    return RejectsPage(
        title="Rejects",
        run=of_run(published),
        rejects_by_reason=dict(published.rejects_by_reason),
        rejects=tuple(RejectRow(**row) for row in shown),
        **about,
    )
