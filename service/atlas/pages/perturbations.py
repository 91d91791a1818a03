"""Pages about perturbed images. Takes runs and rows of their tables, gives plain values with curves as points."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service.atlas import links
from service.query.findings import Finding, findings
from service.query.perturbations import BARS, COLOURS, ORDER, TITLES

CURVES_SHOWN = 8  # images whose curves stand in one chart
CHART = (240.0, 110.0)  # width and height of a chart
PROBABILITY = "probability"


def charts(rows: Sequence[Finding]) -> dict[str, Any]:
    """Curves of some images: a line of charts for each layer, with the layers to one scale, and one for the class.

    A chart has a curve for each image, as points of a figure; heights go from 0 to the line's `top`.
    """
    if not rows:  # all images were rejects
        return {"transforms": [], "ranges": [], "lines": []}
    values = [row.values for row in rows]
    images = list(dict.fromkeys(each["image_id"] for each in values))
    layers = dict(sorted({(each["layer_index"], each["layer"]) for each in values}))
    transforms = sorted({each["transform"] for each in values}, key=ORDER.index)
    top = math.ceil(2 * max(each["relative_distance"] or 0.0 for each in values)) / 2 or 1.0
    named = [
        (f"{name}: relative distance of features", index, "relative_distance", top) for index, name in layers.items()
    ]
    lines = [*named, ("probability of the class", min(layers), PROBABILITY, 1.0)]
    return {
        "transforms": [TITLES[each] for each in transforms],
        "ranges": [_ends([each["amount"] for each in values if each["transform"] == name]) for name in transforms],
        "lines": [
            {
                "title": title,
                "top": highest,
                "charts": [
                    [_curve(n, _chosen(values, image, layer, each), column, highest) for n, image in enumerate(images)]
                    for each in transforms
                ],
            }
            for title, layer, column, highest in lines
        ],
    }


def _curve(number: int, values: Sequence[Mapping[str, Any]], column: str, top: float) -> dict[str, str]:
    """One image's curve as the points of a chart, from the least amount on the left to the largest."""
    width, height = CHART
    low, high = _ends([each["amount"] for each in values])
    known = [(each["amount"], each[column]) for each in values if each[column] is not None]
    points = [((x - low) / (high - low) * width, height * (1 - min(1.0, y / top))) for x, y in known]
    return {"colour": colour(number), "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in points)}


def colour(number: int) -> str:
    """The colour of an image's curves."""
    return COLOURS[number % len(COLOURS)]


def invariance(groups: Sequence[Sequence[Finding]]) -> dict[str, Any]:
    """What a page of a run of invariance shows of some images."""
    rows = [row for group in groups for row in group]
    images = [_image(number, group) for number, group in enumerate(groups)]
    return {**charts(rows), "images": images, "border": rows[0].values["border"] if rows else None}


def moved(row: Finding) -> dict[str, Any]:
    """One row: the curves of its image, and where the row is on them."""
    values, run = row.values, row.run
    group = [each for each in findings(run) if each.values["image_index"] == values["image_index"]]
    mine = [each for each in group if each.values["transform"] == values["transform"]]
    low, high = _ends([each.values["amount"] for each in mine])
    amounts = [each for each in mine if each.values["layer"] == values["layer"]]
    return {
        **charts(mine),
        "at": (values["amount"] - low) / (high - low) * CHART[0],
        "what": TITLES[values["transform"]],
        "amounts": [{"amount": each.values["amount"], "href": links.row(run, each.number)} for each in amounts],
    }


def correspondence(rows: Sequence[Finding]) -> dict[str, Any]:
    """A run of correspondence: for each layer its parts with a bar for each kind, and pictures of what was hidden."""
    top = max((_reach(row.values) for row in rows), default=0.0) or 1.0
    layers = dict(sorted({(row.values["layer_index"], row.values["layer"]) for row in rows}))
    return {
        "legend": [{"kind": kind, "colour": told[0], "says": told[1]} for kind, told in BARS.items()],
        "top": top,
        "layers": [
            {"layer": name, "parts": _parts([row for row in rows if row.values["layer_index"] == index], top)}
            for index, name in layers.items()
        ],
        "hidden": [_hidden(row) for row in rows if "picture" in row.pictures],
        "left_out": sorted(
            {f"{row.values['part']}: {row.values['why_left_out']}" for row in rows if row.values["left_out"]}
        ),
    }


def part(row: Finding) -> dict[str, Any]:
    """One row: the part in its layer, beside the random places."""
    beside = [
        each for each in findings(row.run)
        if (each.values["layer_index"], each.values["part"]) == (row.values["layer_index"], row.values["part"])
    ]  # fmt: skip
    return correspondence(beside)


def _parts(rows: Sequence[Finding], top: float) -> list[dict[str, Any]]:
    """The parts of a layer, each with its bars: widths and the ends of their error as shares of the longest."""
    found = []
    for name in sorted({row.values["part"] for row in rows}):
        mine = {row.values["kind"]: row for row in rows if row.values["part"] == name}
        bars = [_bar(mine[kind], top) for kind in BARS if kind in mine]
        found.append({"part": name, "bars": bars})
    return found


def _bar(row: Finding, top: float) -> dict[str, Any]:
    values = row.values
    delta, error = values["delta"] or 0.0, values[BARS[values["kind"]][2]] or 0.0
    ends = [max(0.0, delta - error) / top, (delta + error) / top]
    return {**values, "href": links.row(row.run, row.number), "colour": BARS[values["kind"]][0],
            "width": delta / top, "error": error, "ends": ends}  # fmt: skip


def _reach(values: Mapping[str, Any]) -> float:
    return (values["delta"] or 0.0) + (values[BARS[values["kind"]][2]] or 0.0)


def _hidden(row: Finding) -> dict[str, Any]:
    picture = links.picture(row.run, row.number, "picture")
    return {"part": row.values["part"], "kind": row.values["kind"], "picture": picture}


def _image(number: int, group: Sequence[Finding]) -> dict[str, Any]:
    """An image, the colour of its curves, and its pictures by transform."""
    first = group[0].values
    shown = [row for row in group if "picture" in row.pictures]
    return {
        "image_id": first["image_id"],
        "href": links.image(group[0].run, first["image_id"]),
        "colour": colour(number),
        "class_name": first["class_name"] or f"class {first['class_index']}",
        "target": first["target"],
        "pictures": [
            [_picture(row) for row in shown if row.values["transform"] == each]
            for each in sorted({row.values["transform"] for row in group}, key=ORDER.index)
        ],
    }


def _picture(row: Finding) -> dict[str, Any]:
    return {
        "amount": row.values["amount"],
        "href": links.row(row.run, row.number),
        "picture": links.picture(row.run, row.number, "picture"),
    }


def _chosen(values: Sequence[Mapping[str, Any]], image: str, layer: int, transform: str) -> list[Mapping[str, Any]]:
    key = (image, layer, transform)
    return [each for each in values if (each["image_id"], each["layer_index"], each["transform"]) == key]


def _ends(amounts: Sequence[float]) -> tuple[float, float]:
    """The least and the largest amount; a little apart where there is only one."""
    low, high = min(amounts), max(amounts)
    return low, high if high > low else low + 1
