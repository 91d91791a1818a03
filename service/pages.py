"""What each page of the atlas says. Takes an atlas and what was asked, gives plain values: the page's data and its JSON twin."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow.compute as pc

from service import links, query
from service.atlas import SORTS, Atlas, Channel, LayerTables
from service.catalog import Layer, PublishedRun
from service.pictures import KINDS
from workers.errors import QueryError, nearest
from workers.store.schema import IMAGES, PREVIEWS, TABLES

Page = Mapping[str, Any]

SAYS = {
    "patch": "A patch is the part of an image that a unit can see at all; most of its sensitivity lies in the middle.",
    "projection": "A projection is what in this patch drove this unit, carried down to pixels; never why a class was chosen.",
    "occlude": "A grey square hides a part of the image: what then falls depended on that part, as far as one square shows.",
    "invert": "An image that the layer cannot tell from the original: one of many, and the priors' doing as well.",
    "filters": "The first convolution's kernels, each scaled by itself: what they weigh, not how often they wake.",
}
FOUND_AT_MOST = 40
BARS = 40
SHOWN_ROWS = 400


def runs(atlas: Atlas) -> Page:
    """All published runs, the newest first."""
    return {"kind": "runs", "title": "Runs", "runs": [_run(run) for run in atlas.runs()]}


def run(atlas: Atlas, run_id: str) -> Page:
    """One run: its layers, or what an instrument found."""
    found = atlas.run(run_id)
    page = {"kind": "run", "title": found.run, "run": _run(found), "rejects_by_reason": dict(found.rejects_by_reason)}
    if found.job != "scan":
        return page | {"says": SAYS.get(found.job, ""), "found": list(_items(found))}
    layers = [_layer(found, each) | _state(atlas.layer(found, each.name)) for each in found.layers]
    return page | {"layers": layers}


def layer(atlas: Atlas, run_id: str, name: str, sort: str, show: str, label: str | None = None) -> Page:
    """The wall of a layer's channels.

    Raises:
        QueryError: there is no such layer, order or kind of picture.
    """
    if show not in KINDS:
        raise QueryError(f"nothing is shown as {show!r}; {nearest(show, KINDS)}")
    found = atlas.run(run_id)
    tables = atlas.layer(found, name)
    return {
        "kind": "layer",
        "title": f"{name} of {found.run}",
        "run": _run(found),
        "layer": _layer(found, tables.layer) | _state(tables),
        "sort": sort,
        "show": show,
        "label": label,
        "sorts": list(SORTS),
        "says": SAYS[show],
        "channels": [_channel(found, tables.layer, each, show) for each in tables.sorted(sort, label)],
    }


def channel(atlas: Atlas, run_id: str, name: str, number: int) -> Page:
    """One channel: Figure 2 of the paper, its scores, labels and neighbours."""
    found = atlas.run(run_id)
    tables = atlas.layer(found, name)
    about, rows, histogram = tables.layer, tables.rows(number), tables.histogram(number)
    before, behind = (number - 1) % about.channels, (number + 1) % about.channels
    return {
        "kind": "channel",
        "title": f"channel {number} of {name}",
        "run": _run(found),
        "layer": _layer(found, about),
        "channel": number,
        "statistics": asdict(tables.unit(number)),
        "cells": [_cell(found, about, row) for row in rows],
        "histogram": [{"low": low, "high": high, "images": count} for low, high, count in histogram],
        "lowest": histogram[0][0],
        "bars": _bars(histogram),
        "labels": [
            {"label": label, "images": count, "href": links.layer(found, name, sort="purity", label=label)}
            for label, count in tables.labels(number)
        ],
        "neighbours": [
            asdict(each)
            | {"href": links.channel(found, name, each.channel), "picture": links.wall(found, about, each.channel)}
            for each in tables.neighbours(number)
        ],
        "previous": links.channel(found, name, before),
        "next": links.channel(found, name, behind),
        "says": [SAYS["patch"], SAYS["projection"]],
    }


def image(atlas: Atlas, run_id: str, image_id: str) -> Page:
    """One image: its preview, and the channels that it tops."""
    found = atlas.run(run_id)
    rows = query.image(found, image_id)
    [about] = query.read(found, IMAGES, pc.field("image_id") == _id_of(rows, image_id), _IMAGE).to_pylist() or [{}]
    return {
        "kind": "image",
        "title": image_id,
        "run": _run(found),
        "image": about,
        "preview": _preview(found, about.get("image_index")),
        "units": [
            _cell(found, found.layer(row.layer), row)
            | {"layer": row.layer, "channel": row.channel, "channel_href": links.channel(found, row.layer, row.channel)}
            for row in rows
        ],
        "says": [SAYS["patch"], SAYS["projection"]],
    }


def compare(atlas: Atlas, first: str, second: str, name: str | None) -> Page:
    """Two scans side by side: channels of a layer that both have, and how many top images they share."""
    one, other = atlas.run(first), atlas.run(second)
    common = [each.name for each in one.layers if each.name in {layer.name for layer in other.layers}]
    if not common:
        raise QueryError(f"runs {first!r} and {second!r} have no layer in common")
    wanted = name or common[-1]
    tables = atlas.layer(one, wanted), atlas.layer(other, wanted)
    return {
        "kind": "compare",
        "title": f"{first} beside {second}",
        "runs": [_run(one), _run(other)],
        "layer": wanted,
        "layers": [{"name": each, "href": links.compare(first, second, each)} for each in common],
        "says": SAYS["patch"],
        "channels": list(_pairs((one, other), tables)),
    }


def search(atlas: Atlas, words: str) -> Page:
    """Layers, channels, labels and images whose names hold the words, in all published scans."""
    found: list[dict[str, str]] = []
    for each in atlas.runs() if words.strip() else ():
        if each.job == "scan":
            found += _matches(atlas, each, words.strip())
    return {"kind": "search", "title": f"Search: {words}", "words": words, "found": found[:FOUND_AT_MOST]}


_IMAGE = ["image_index", "image_id", "uri", "label", "width", "height", "bytes"]


def _run(found: PublishedRun) -> dict[str, Any]:
    return {
        "run": found.run,
        "job": found.job,
        "created": found.created,
        "model": found.model,
        "corpus": found.corpus,
        "images": found.images,
        "rejects": found.rejects,
        "input": [found.input_height, found.input_width],
        "method": found.method,
        "channels": sum(each.channels for each in found.layers),
        "layers": len(found.layers),
        "href": links.run(found),
    }


def _layer(found: PublishedRun, about: Layer) -> dict[str, Any]:
    """A layer; `field_share` is the side of its receptive field against the input's, at most 1."""
    share = min(1.0, max(about.field_height / found.input_height, about.field_width / found.input_width))
    return asdict(about) | {"field_share": share, "href": links.layer(found, about.name)}


def _state(tables: LayerTables) -> dict[str, Any]:
    dead = sum(each.dead for each in tables.channels)
    return {"dead": dead, "dead_share": dead / len(tables.channels)}


def _channel(found: PublishedRun, about: Layer, each: Channel, show: str) -> dict[str, Any]:
    href = links.channel(found, about.name, each.channel)
    return asdict(each) | {"href": href, "picture": links.wall(found, about, each.channel, show)}


def _cell(found: PublishedRun, about: Layer, row: query.Top) -> dict[str, Any]:
    place = f"{links.channel(found, about.name, row.channel)}/{row.rank}"
    return {
        "rank": row.rank,
        "score": row.score,
        "image_id": row.image_id,
        "label": row.label,
        "location": [row.y, row.x],
        "source_box": [row.source_top, row.source_left, row.source_bottom, row.source_right],
        "href": links.image(found, row.image_id),
        "patch": f"{place}/patch",
        "projection": f"{place}/projection",
    }


def _bars(histogram: Sequence[tuple[float, float, int]]) -> list[dict[str, float]]:
    """The histogram in equal steps of the score, as rectangles of a figure of 320 x 100."""
    lowest, highest = histogram[0][0], histogram[-1][1]
    width = (highest - lowest) / BARS or 1.0
    counts = [0] * BARS
    for low, high, count in histogram:
        counts[min(BARS - 1, int(((low + high) / 2 - lowest) / width))] += count
    step = 320 / BARS
    return [
        {
            "x": round(number * step, 2),
            "y": round(100 - 96 * math.sqrt(count / max(counts)), 2),
            "width": round(step - 1, 2),
            "height": round(96 * math.sqrt(count / max(counts)), 2),
            "low": lowest + number * width,
            "high": lowest + (number + 1) * width,
            "images": count,
        }
        for number, count in enumerate(counts)
        if count
    ]


def _items(found: PublishedRun) -> Iterator[dict[str, Any]]:
    """The rows of an instrument's table; pictures as where they are."""
    name = {"occlude": "occlusions", "invert": "inversions", "filters": "filters"}[found.job]
    table = TABLES[name]
    plain = [field.name for field in table.schema if field.name not in (*table.images, "error_curve")]
    plain = [each for each in plain if not each.endswith("_map")]
    shown = {each: pc.field(each) for each in plain}
    there = {f"has_{each}": pc.field(each, "bytes").is_valid() for each in table.images}
    for number, row in enumerate(query.read(found, table, pc.scalar(True), shown | there).to_pylist()[:SHOWN_ROWS]):
        href = f"{links.run(found)}/pictures/{name}/"
        pictures = {each: f"{href}{each}/{number}" if row.pop(f"has_{each}") else None for each in table.images}
        yield row | {"pictures": pictures}


def _pairs(found: Sequence[PublishedRun], tables: Sequence[LayerTables]) -> Iterator[dict[str, Any]]:
    for one, other in zip(tables[0].channels, tables[1].channels, strict=False):
        ids = [{row.image_id for row in each.rows(one.channel)} for each in tables]
        larger = max(map(len, ids))
        sides = zip(found, tables, (one, other), strict=True)
        yield {
            "channel": one.channel,
            "overlap": len(ids[0] & ids[1]) / larger if larger else None,
            "sides": [_channel(run, each.layer, mine, "patch") for run, each, mine in sides],
        }


def _matches(atlas: Atlas, found: PublishedRun, words: str) -> Iterator[dict[str, str]]:
    head, _, tail = words.rpartition(" ")
    for about in found.layers:
        if words.lower() in about.name.lower():
            yield {"what": "layer", "name": about.name, "run": found.run, "href": links.layer(found, about.name)}
        if about.name == head and tail.isdecimal() and int(tail) < about.channels:
            href = links.channel(found, about.name, int(tail))
            yield {"what": "channel", "name": words, "run": found.run, "href": href}
        counted = Counter(each.label for each in atlas.layer(found, about.name).channels if each.label is not None)
        for label in sorted(each for each in counted if words.lower() in each.lower()):
            told = f"{label}: {counted[label]} channels of {about.name}"
            yield {"what": "label", "name": told, "run": found.run, "href": links.layer(found, about.name, label=label)}
    alike = pc.match_substring(pc.field("image_id"), words, ignore_case=True)
    for name in query.read(found, IMAGES, alike, ["image_id"])["image_id"].slice(0, FOUND_AT_MOST).to_pylist():
        yield {"what": "image", "name": name, "run": found.run, "href": links.image(found, name)}


def _id_of(rows: Sequence[query.Top], image_id: str) -> str:
    return rows[0].image_id if rows else image_id


def _preview(found: PublishedRun, image_index: int | None) -> str | None:
    if image_index is None or not len(
        query.read(found, PREVIEWS, pc.field("image_index") == image_index, ["image_id"])
    ):
        return None
    return f"{links.run(found)}/previews/{image_index}"
