"""Pages about scans. Takes an atlas and what was asked, gives plain values: a page's data and its JSON twin."""

import math
from collections.abc import Sequence
from typing import Any

from service import links
from service.atlas import Atlas
from service.pages import findings
from service.pages.parts import SAYS, Page, of_cell, of_channel, of_layer, of_run, of_state
from service.pictures import KINDS
from service.query import sharing
from service.query.layers import SORTS, Choice
from workers.errors import QueryError, nearest

BARS = 40


def runs(atlas: Atlas) -> Page:
    """All published runs, the newest first."""
    return {"kind": "runs", "title": "Runs", "runs": [of_run(run) for run in atlas.runs()]}


def run(atlas: Atlas, run_id: str, start: int = 0) -> Page:
    """One run: its layers, or what an instrument found."""
    found = atlas.run(run_id)
    page = {"title": found.run, "run": of_run(found), "rejects_by_reason": dict(found.rejects_by_reason)}
    if found.job != "scan":
        return {**page, **findings.of_run(found, start)}
    layers = [of_layer(found, each) | of_state(atlas.layer(found, each.name)) for each in found.layers]
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
        "layer": of_layer(found, tables.layer) | of_state(tables),
        "choice": vars(choice),
        "show": show,
        "sorts": list(SORTS),
        "says": [SAYS[show]],
        "channels": [of_channel(found, tables.layer, each, show) for each in tables.chosen(choice)],
    }


def channel(atlas: Atlas, run_id: str, name: str, number: int) -> Page:
    """One channel: Figure 2 of the paper, its scores, labels and neighbours."""
    found = atlas.run(run_id)
    tables = atlas.layer(found, name)
    about, histogram = tables.layer, tables.histogram(number)
    return {
        "kind": "channel",
        "title": f"channel {number} of {name}",
        "run": of_run(found),
        "layer": of_layer(found, about),
        "channel": number,
        "statistics": vars(tables.channels[number]),
        "cells": [of_cell(found, about, row) for row in tables.rows(number)],
        "histogram": [{"low": low, "high": high, "images": count} for low, high, count in histogram],
        "lowest": histogram[0][0],
        "bars": _bars(histogram),
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
        for each in sharing.labelled(found, name)
    ]
    return {
        "kind": "label",
        "title": name,
        "run": of_run(found),
        "label": name,
        "says": [SAYS["patch"]],
        "channels": channels,
    }


def compare(atlas: Atlas, first: str, second: str, name: str | None) -> Page:
    """Two scans side by side: channels of a layer that both have, and how many top images they share."""
    one, other = atlas.run(first), atlas.run(second)
    common = [each.name for each in one.layers if each.name in {layer.name for layer in other.layers}]
    if not common:
        raise QueryError(f"runs {first!r} and {second!r} have no layer in common")
    wanted = name or common[-1]
    tables = atlas.layer(one, wanted), atlas.layer(other, wanted)
    sides = tuple(zip((one, other), tables, strict=True))
    return {
        "kind": "compare",
        "title": f"{first} beside {second}",
        "runs": [of_run(one), of_run(other)],
        "layer": wanted,
        "layers": [{"name": each, "href": links.compare(first, second, each)} for each in common],
        "says": [SAYS["patch"]],
        "channels": [
            vars(pair) | {"sides": [of_channel(run, each.layer, each.channels[pair.channel]) for run, each in sides]}
            for pair in sharing.beside(*tables)
        ],
    }


def _bars(histogram: Sequence[tuple[float, float, int]]) -> list[dict[str, Any]]:
    """The histogram in equal steps of the score, as rectangles of a figure of 320 x 100; heights are roots of counts."""
    lowest, highest = histogram[0][0], histogram[-1][1]
    width = (highest - lowest) / BARS or 1.0
    counts = [0] * BARS
    for low, high, count in histogram:
        counts[min(BARS - 1, int(((low + high) / 2 - lowest) / width))] += count
    step, most = 320 / BARS, max(counts)
    return [
        {
            "x": round(number * step, 2),
            "y": round(100 - 96 * math.sqrt(count / most), 2),
            "width": round(step - 1, 2),
            "height": round(96 * math.sqrt(count / most), 2),
            "low": lowest + number * width,
            "high": lowest + (number + 1) * width,
            "images": count,
        }
        for number, count in enumerate(counts)
        if count
    ]
