"""Pages about scans. Takes an atlas and what was asked, gives plain values: a page's data and its JSON twin."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.links import KINDS, SHOWN
from service.atlas.pages import evolution, findings
from service.atlas.pages.parts import SAYS, Page, checks_of, of_cell, of_channel, of_layer, of_run, of_state
from service.query import comparing, labels
from service.query.layers import SORTS, Choice
from workers.errors import QueryError, nearest

BARS = 40
ZERO_WIDTH = 14
COMPARED_BY = ("channel", "overlap")


def runs(atlas: Atlas, under_way: Sequence[Mapping[str, Any]]) -> Page:
    """All published runs, the newest first, and those that were submitted and are not published."""
    found = [of_run(run) for run in atlas.runs()]
    return {"kind": "runs", "title": "Runs", "runs": found, "damaged": atlas.damaged(), "under_way": under_way}


def run(atlas: Atlas, run_id: str, start: int = 0) -> Page:
    """One run: its layers, or what an instrument found."""
    found = atlas.run(run_id)
    page = {"title": found.run, "run": of_run(found), "rejects_by_reason": dict(found.rejects_by_reason)}
    if found.job == "evolve":
        return {**page, **evolution.of_run(found)}
    if found.job != "scan":
        return {**page, **findings.of_run(found, start)}
    layers = [of_layer(found, each) | of_state(atlas, found, each) for each in found.layers]
    return page | {"kind": "run", "layers": layers}


def layer(atlas: Atlas, run_id: str, name: str, choice: Choice, show: str) -> Page:
    """The wall of a layer's channels.

    Raises:
        QueryError: there is no such layer or kind of picture.
    """
    if show not in KINDS:
        raise QueryError(f"nothing is shown as {show!r}; {nearest(show, KINDS)}")
    found = atlas.run(run_id)
    tables = atlas.layer(found, name)
    return {
        "kind": "layer",
        "title": f"{name} of {found.run}",
        "run": of_run(found),
        "layer": of_layer(found, tables.layer) | of_state(atlas, found, tables.layer),
        "choice": vars(choice),
        "show": show,
        "sorts": list(SORTS),
        "labels": atlas.labels(found),
        "says": [SAYS[show]],
        "channels": [of_channel(found, tables.layer, each, show) for each in tables.chosen(choice)],
    }


def channel(atlas: Atlas, run_id: str, name: str, number: int) -> Page:
    """One channel: Figure 2 of the paper, its scores, labels and neighbours."""
    found = atlas.run(run_id)
    tables = atlas.layer(found, name)
    about, histogram = tables.layer, tables.histogram(number)
    cells = [of_cell(found, about, row) for row in tables.rows(number)]
    return {
        "kind": "channel",
        "title": f"channel {number} of {name}",
        "run": of_run(found),
        "layer": of_layer(found, about),
        "channel": number,
        "statistics": vars(tables.channels[number]),
        "cells": cells[:SHOWN],
        "rows": cells,
        "histogram": [{"low": low, "high": high, "images": count} for low, high, count in histogram],
        **_bars(histogram),
        "labels": [
            {"label": label, "images": count, "href": links.label(found, label)}
            for label, count in tables.labels(number)
        ],
        "neighbours": [
            vars(each)
            | {"href": links.channel(found, name, each.channel), "picture": links.wall(found, about, each.channel)}
            for each in tables.neighbours(number)
        ],
        "previous": links.channel(found, name, (number - 1) % about.channels),
        "next": links.channel(found, name, (number + 1) % about.channels),
        "says": [SAYS["patch"], SAYS["projection"]],
        "checks": [{"run": each.run, "href": f"{links.run(each)}#{name}"} for each in checks_of(atlas, found, name)],
    }


def label(atlas: Atlas, run_id: str, name: str) -> Page:
    """The channels of all layers whose top images share a label."""
    found = atlas.run(run_id)
    channels = [
        vars(each)
        | {
            "href": links.channel(found, each.layer, each.channel),
            "picture": links.wall(found, found.layer(each.layer), each.channel),
        }
        for each in labels.labelled(found, name)
    ]
    return {
        "kind": "label",
        "title": name,
        "run": of_run(found),
        "label": name,
        "says": [SAYS["patch"]],
        "channels": channels,
    }


def compare(atlas: Atlas, first: str, second: str, asked: Mapping[str, str]) -> Page:
    """Two scans side by side: channels of a layer that both have, and how many top images they share.

    Args:
        atlas: the atlas.
        first: run id.
        second: run id.
        asked: `layer`, `show` and `sort` ("channel" or "overlap", least first).
    """
    compared = comparing.comparison(atlas.run(first), atlas.run(second))
    (one, other), common = compared.runs, compared.layers
    wanted, show, sort = asked.get("layer") or common[-1], asked.get("show", "patch"), asked.get("sort", "channel")
    if show not in KINDS or sort not in COMPARED_BY:
        raise QueryError(f"two runs cannot be shown by {show!r}, sorted by {sort!r}")
    tables = atlas.layer(one, wanted), atlas.layer(other, wanted)
    sides = tuple(zip((one, other), tables, strict=True))
    pairs = list(compared.pairs(tables))
    if sort == "overlap":
        pairs.sort(key=lambda pair: (pair.overlap is None, pair.overlap))
    return {
        "kind": "compare",
        "title": f"{first} beside {second}",
        "runs": [of_run(one), of_run(other)],
        "name": wanted,
        "layers": [{"name": each, "href": links.compare(first, second, each)} for each in common],
        "show": show,
        "sort": sort,
        "sorts": COMPARED_BY,
        "says": [SAYS[show]],
        "in_common": compared.in_common,
        "whole": vars(compared.layer(tables)),
        "channels": [
            vars(pair)
            | {"sides": [of_channel(run, each.layer, each.channels[pair.channel], show) for run, each in sides]}
            for pair in pairs
        ],
    }


def _bars(histogram: Sequence[tuple[float, float, int]]) -> dict[str, Any]:
    """The histogram in equal steps of the score, as rectangles of a figure of 320 x 100; heights are roots of counts.

    Scores of exactly 0 have a bar of their own in front, where there are any.
    """
    zeros = sum(count for low, high, count in histogram if low == high == 0)
    rest = [each for each in histogram if each[:2] != (0, 0)]
    left = ZERO_WIDTH if zeros else 0
    lowest, highest = (rest[0][0], rest[-1][1]) if rest else (0.0, 0.0)
    width, counts = (highest - lowest) / BARS or 1.0, [0] * BARS
    for low, high, count in rest:
        counts[min(BARS - 1, int(((low + high) / 2 - lowest) / width))] += count
    step, tallest = (320 - left) / BARS, max(zeros, *counts)
    bars = [
        _bar(left + number * step, step - 1, count / tallest)
        | {"low": lowest + number * width, "high": lowest + (number + 1) * width, "images": count, "zero": False}
        for number, count in enumerate(counts)
        if count
    ]
    if zeros:
        bars.insert(0, _bar(0, left - 4, zeros / tallest) | {"low": 0.0, "high": 0.0, "images": zeros, "zero": True})
    return {"bars": bars, "lowest": lowest, "tallest": tallest, "from_x": left}


def _bar(x: float, width: float, share: float) -> dict[str, Any]:
    height = 96 * math.sqrt(share)
    return {"x": round(x, 2), "y": round(100 - height, 2), "width": round(width, 2), "height": round(height, 2)}
