"""Values that several pages show. Takes runs, layers and rows, gives them as values with their links."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages.values import CellCard, ChannelCard, LayerCard, LayerState, RunCard, TellingCard
from service.query.catalog import PublishedRun
from service.query.layers import Channel
from service.query.marks import BRANCHES, marks
from service.query.naming import corpus_name, model_name
from service.query.scans import Top
from service.query.telling import TellingChannel
from workers.errors import QueryError
from workers.store.facts import LayerFacts

T = TypeVar("T")

SAYS = {
    "patch": "A patch shows what a unit can see of the image. A zoomed tile shows the part "
    "nearest its middle, where the unit is most sensitive.",
    "projection": "A projection shows which pixels of this patch drove this unit, not why the network chose a class.",
    "synthesis": "A synthetic image is one of many that activate the channel strongly. It does not look like a photo; the "
    "patches of a scan show what activates the channel in photos.",
    "concepts": "The image-text model judges what a channel's best patches have in common, not the channel itself. It was "
    "trained on other images than the network, and finds something near any text.",
}

ALIKE_FROM = 0.9  # rank correlation
ALIKE = (
    "Projections of different channels at one place are nearly the same in {layers}: check {check} found {what}, where 1 is "
    "identical. They show where a channel looked; rely on the patches for what it looks for."
)


def paginate(
    items: Sequence[T], start: int, size: int, link: Callable[[int], str]
) -> tuple[Sequence[T], dict[str, Any]]:
    """Some items of a longer list, and the fields of a `PageOfList`.

    Args:
        items: the whole list.
        start: number of the first item; beyond the end, the last page is shown.
        size: number of items per page.
        link: gives the path of the page that starts at an item.
    """
    start = min(start, max(0, len(items) - 1) // size * size)
    shown = items[start : start + size]
    return shown, {
        "total": len(items),
        "first": start + 1,
        "last": start + len(shown),
        "previous": link(max(0, start - size)) if start else None,
        "next": link(start + size) if start + size < len(items) else None,
    }


def choose(name: str, wanted: str, known: Sequence[str]) -> str:
    """The value of a parameter that is one of a few words; the first one if it is empty."""
    if wanted and wanted not in known:
        raise QueryError(f"{name} {wanted!r} is not known; give one of {', '.join(dict.fromkeys(known))}")
    return wanted or known[0]


def of_run(run: PublishedRun) -> RunCard:
    """The card of a run; without paths and spec if the run hides them."""
    model, corpus = model_name(run.model), corpus_name(run.corpus, is_short=run.hides_paths) if run.corpus else ""
    return RunCard(
        run=run.run,
        job=run.job,
        created=run.created,
        relabelled=run.relabelled,
        name=f"{model} on {corpus}" if corpus else model,
        model=model if run.hides_paths else run.model,
        model_name=model,
        corpus=corpus if run.hides_paths else run.corpus,
        corpus_name=corpus,
        images=run.images,
        rejects=run.rejects,
        passed_over=dict(run.passed_over),
        input=(run.input_height, run.input_width),
        method=run.method,
        spec={} if run.hides_paths else run.spec.values,
        channels=sum(layer.channels for layer in run.layers),
        layers=len(run.layers),
        href=links.run(run),
    )


def scans_beside(atlas: Atlas, run: PublishedRun) -> Iterator[PublishedRun]:
    """The other scans over a run's corpus, newest first."""
    for other in atlas.runs():
        if other.job == "scan" and other.corpus == run.corpus and other.run != run.run:
            yield other


def checks_of(atlas: Atlas, scan: PublishedRun, layer: str) -> Iterator[PublishedRun]:
    """The randomisation checks of a layer of a scan, newest first."""
    for check in atlas.runs():
        section = check.sections.sanity
        if section and section.from_run == scan.run and any(checked.name == layer for checked in check.layers):
            yield check


def says_of(atlas: Atlas, scan: PublishedRun, layer: LayerFacts, *shown: str) -> tuple[str, ...]:
    """What a page says about its pictures of a layer ("patch" or "projection"), and the meanings of the layer's marks."""
    alike = says_alike(atlas, scan, [layer.name]) if "projection" in shown else ()
    return (*(SAYS[kind] for kind in shown), *alike, *meanings(layer))


def says_alike(atlas: Atlas, scan: PublishedRun, layers: Iterable[str]) -> tuple[str, ...]:
    """A line for each check that is the newest one of some layers and found the same projections for all of their channels."""
    floors: dict[str, dict[str, float]] = {}
    for layer in layers:
        check = next(checks_of(atlas, scan, layer), None)
        floor = atlas.floor(check, layer, scan.method) if check else None
        if check is not None and floor is not None and floor >= ALIKE_FROM:
            floors.setdefault(check.run, {})[layer] = floor
    return tuple(_line(check, by_layer) for check, by_layer in floors.items())


def _line(check: str, floors: Mapping[str, float]) -> str:
    """That a check found the same projections for all channels of some layers."""
    values = [f"{floor:.2f}" for floor in floors.values()]
    what = (
        f"a median rank correlation of {values[0]}"
        if len(values) == 1
        else f"median rank correlations of {join_words(values)}"
    )
    return ALIKE.format(layers=join_words(list(floors)), check=check, what=what)


def join_words(words: Sequence[str]) -> str:
    """Words as a list in a sentence: "a", "a and b", "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def texts_of(atlas: Atlas, run: PublishedRun, layer: str) -> dict[int, str]:
    """The texts of the notes on a layer's channels, by channel."""
    return {channel: note.text for (name, channel), note in atlas.notes(run).items() if name == layer}


def has_projections(run: PublishedRun, layer: LayerFacts) -> bool:
    """Whether a layer's channels have projections."""
    return run.method != "none" and not layer.obstacle


def meanings(layer: LayerFacts) -> tuple[str, ...]:
    """The meanings of a layer's marks, and why its channels see parts of different size, if they do."""
    return (*marks(layer.gated, layer.obstacle).values(), *([BRANCHES] if layer.least_field_height else []))


def of_layer(run: PublishedRun, layer: LayerFacts) -> LayerCard:
    """The card of a layer."""
    return LayerCard(**_layer(run, layer))


def of_state(atlas: Atlas, run: PublishedRun, layer: LayerFacts) -> LayerState:
    """The card of a layer with the number of its dead channels."""
    return LayerState(**of_state_fields(atlas, run, layer))


def of_state_fields(atlas: Atlas, run: PublishedRun, layer: LayerFacts) -> dict[str, Any]:
    """The fields of a `LayerState`."""
    dead = atlas.dead(run)[layer.name]
    return {**_layer(run, layer), "dead": dead, "dead_share": dead / layer.channels}


def _layer(run: PublishedRun, layer: LayerFacts) -> dict[str, Any]:
    special = dict(marks(layer.gated, layer.obstacle))
    return {**vars(layer), "marks": special, "href": links.layer(run, layer.name)}


def of_channel(
    run: PublishedRun,
    layer: LayerFacts,
    channel: Channel,
    show: str = "patch",
    view: str = "filled",
    note: str | None = None,
) -> ChannelCard:
    """The card of a channel on a wall."""
    href, number = links.channel(run, layer.name, channel.channel), channel.channel
    return ChannelCard(**vars(channel), href=href, picture=links.wall(run, layer, number, show, view), note=note)


def of_telling(run: PublishedRun, channel: TellingChannel) -> TellingCard:
    """The card of a channel that is worth a look."""
    layer = run.layers_by_index[channel.layer_index]
    return TellingCard(
        channel=channel.channel,
        label=channel.label,
        images=channel.images,
        top=channel.top,
        href=links.channel(run, layer.name, channel.channel),
        picture=links.wall(run, layer, channel.channel),
    )


def of_cell(run: PublishedRun, layer: LayerFacts, row: Top, view: str = "filled") -> CellCard:
    """The card of one of a channel's top images: its patch and its projection."""
    return CellCard(**cell_fields(run, layer, row, view))


def cell_fields(run: PublishedRun, layer: LayerFacts, row: Top, view: str = "filled") -> dict[str, Any]:
    """The fields of a `CellCard`."""
    return {
        "rank": row.rank,
        "score": row.score,
        "image_id": row.image_id,
        "label": row.label,
        "location": (row.y, row.x),
        "source_box": (row.source_top, row.source_left, row.source_bottom, row.source_right),
        "href": links.image(run, row.image_id),
        "patch": links.cell(run, layer, row.channel, row.rank, "patch", view),
        "projection": links.cell(run, layer, row.channel, row.rank, "projection", view),
    }
