"""The search. Takes an atlas and words, gives the channels, labels, layers, images and runs that match them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal

import pyarrow.compute as pc

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages.nearby import NearCard
from service.atlas.pages.parts import of_run
from service.atlas.pages.values import Page, RunCard, TellingCard, Value
from service.query.catalog import PublishedRun
from service.query.telling import LEAST_SHARED, TellingChannel
from workers.errors import QueryError
from workers.kinds import Kind

FOUND_OF_A_KIND = 12
LONGEST_SEARCH = 1000
LONGEST_CHANNEL = 9


class ChannelMatch(TellingCard):
    """A channel that matches by its number, by its note, or because `images` of its `top` top images have a matching label.

    With `is_predicted`, the label is the class that was searched for, and the network gives it to these images. `name` is its
    run's short name; with the run's id, if other scans have the same one.
    """

    run: str
    name: str
    layer: str
    note: str | None
    is_predicted: bool = False


class MeantChannels(Value):
    """The channels of a scan that are nearest to the words in meaning; or `problem`, why they are not known."""

    run: RunCard
    encoder: str
    href: str
    channels: tuple[NearCard, ...]
    problem: str | None


class Match(Value):
    """Another thing whose name contains the words of a search."""

    what: str
    name: str
    run: str
    href: str


class SearchPage(Page):
    """The results of a search: channels, also by meaning, then other matches. Per run, at most `most` of each type."""

    kind: Literal["search"] = "search"
    words: str
    channels: tuple[ChannelMatch, ...]
    meant: tuple[MeantChannels, ...] = ()
    found: tuple[Match, ...]
    most: int


def search(atlas: Atlas, words: str) -> SearchPage:
    """Channels, layers, labels and images whose names contain the words, in all published runs.

    Channels by number come first. Among those by label or class, the ones with the largest share of such images come first,
    from whichever run.

    Raises:
        QueryError: the words are too long.
    """
    if len(words) > LONGEST_SEARCH:
        raise QueryError(f"the search text has {len(words):,} characters; at most {LONGEST_SEARCH:,} are allowed")
    wanted = words.strip()
    runs = atlas.runs() if wanted else ()
    scans = [run for run in runs if run.job == Kind.SCAN]
    names = _names(scans)
    by_number = [
        match for run in scans for match in islice(_numbered(atlas, run, names[run.run], wanted), FOUND_OF_A_KIND)
    ]
    by_words = [match for run in scans for match in _named(atlas, run, names[run.run], wanted)]
    by_words.sort(key=lambda match: (-match[0].images / match[0].top, -match[0].selectivity))
    return SearchPage(
        title=f"Search: {words}",
        description="Channels, labels, layers and images that match.",
        words=words,
        channels=(*by_number, *(match for _, match in by_words)),
        found=tuple(match for run in runs for match in _matches(atlas, run, wanted)),
        most=FOUND_OF_A_KIND,
    )


def _names(scans: Sequence[PublishedRun]) -> dict[str, str]:
    """The short name of each scan by its id; several scans with one name also have their ids in it."""
    short = {run.run: of_run(run).name for run in scans}
    counts = Counter(short.values())
    return {run: name if counts[name] == 1 else f"{name}, {run}" for run, name in short.items()}


def _numbered(atlas: Atlas, run: PublishedRun, name: str, words: str) -> Iterator[ChannelMatch]:
    """Channels by number: `relu3 12` is a channel of one layer, `channel 12` and `12` are those of every layer."""
    head, _, tail = words.rpartition(" ")
    for about in run.layers if _is_number(tail) else ():
        if head.lower() in (about.name.lower(), "channel", "") and int(tail) < about.channels:
            yield _channel(run, name, atlas.overview(run).find(about.index, int(tail)))


def _named(atlas: Atlas, run: PublishedRun, name: str, words: str) -> Iterator[tuple[TellingChannel, ChannelMatch]]:
    """Channels by the label of their top images, then by the class that the network gives these images."""
    overview, labelled = atlas.overview(run), set[tuple[int, int]]()
    for channel in overview.matching(words, FOUND_OF_A_KIND):
        labelled.add((channel.layer_index, channel.channel))
        yield channel, _channel(run, name, channel)
    predictions = atlas.predictions(run)
    classes = predictions.find(words) if predictions else ()
    if predictions is None or not classes:
        return
    for seen in predictions.channels(classes, overview, FOUND_OF_A_KIND, LEAST_SHARED):
        if (seen.layer_index, seen.channel) in labelled:
            continue
        channel = replace(overview.find(seen.layer_index, seen.channel), label=words, images=seen.images, top=seen.top)
        yield channel, _channel(run, name, channel).model_copy(update={"is_predicted": True})


def noted(atlas: Atlas, page: SearchPage) -> SearchPage:
    """A page of results with the channels first whose notes contain the words. Notes change, so they are not cached with it."""
    words = page.words.strip().lower()
    runs = [run for run in atlas.runs() if run.job == Kind.SCAN] if words else []
    names = _names(runs)
    matches = tuple(
        match for run in runs for match in islice(_noted(atlas, run, names[run.run], words), FOUND_OF_A_KIND)
    )
    return page.model_copy(update={"channels": (*matches, *page.channels)})


def _noted(atlas: Atlas, run: PublishedRun, scan: str, words: str) -> Iterator[ChannelMatch]:
    layers = {layer.name: layer for layer in run.layers}
    for (name, number), note in sorted(atlas.notes(run).items()):
        if words in note.text.lower() and name in layers and number < layers[name].channels:
            yield _channel(run, scan, atlas.overview(run).find(layers[name].index, number), note.text)


def _channel(run: PublishedRun, name: str, channel: TellingChannel, note: str | None = None) -> ChannelMatch:
    layer = run.layers_by_index[channel.layer_index]
    return ChannelMatch(
        run=run.run,
        name=name,
        layer=layer.name,
        channel=channel.channel,
        label=channel.label,
        images=channel.images,
        top=channel.top,
        href=links.channel(run, layer.name, channel.channel),
        picture=links.wall(run, layer, channel.channel),
        note=note,
    )


def _matches(atlas: Atlas, run: PublishedRun, words: str) -> Iterator[Match]:
    """The other matches in a run: a few of each type, so that no run hides the others."""
    card = of_run(run)
    if any(words.lower() in name.lower() for name in (run.run, card.model_name, card.corpus_name)):
        yield Match(what="run", name=run.run, run=f"{run.job}, {card.name}", href=card.href)
    if run.job == Kind.SCAN:
        for matches in (_labels(atlas, run, words), _layers(run, words), _ids(atlas, run, words)):
            for what, name, href in islice(matches, FOUND_OF_A_KIND):
                yield Match(what=what, name=name, run=run.run, href=href)


Named = tuple[str, str, str]  # sort, name and address of a match


def _layers(run: PublishedRun, words: str) -> Iterator[Named]:
    for about in run.layers:
        if words.lower() in about.name.lower():
            yield "layer", about.name, links.layer(run, about.name)


def _labels(atlas: Atlas, run: PublishedRun, words: str) -> Iterator[Named]:
    for label in atlas.labels(run):
        if words.lower() in label.lower():
            yield "label", label, links.label(run, label)


def _ids(atlas: Atlas, run: PublishedRun, words: str) -> Iterator[Named]:
    ids = atlas.image_ids(run)
    for name in ids.filter(pc.match_substring(ids, words, ignore_case=True)).slice(0, FOUND_OF_A_KIND).to_pylist():
        yield "image", name, links.image(run, name)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= LONGEST_CHANNEL
