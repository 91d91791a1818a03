"""Pages about what instruments found. Takes runs and rows of their tables, gives plain values."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages import parts, perturbations, sanity
from service.atlas.pages.parts import SAYS, Page
from service.query.catalog import PublishedRun
from service.query.findings import MAPS, TABLE_OF, Finding, finding, findings
from workers.pictures import colours

KINDS = {
    "occlude": ("occlusions", "occlusion"),
    "invert": ("inversions", "inversion"),
    "sanity": ("sanity", "sanity_unit"),
    "filters": ("filters", "filter"),
    "evolve": ("evolution", "frame"),
    "invariance": ("invariance", "moved"),
    "correspondence": ("correspondence", "part"),
}
OF_NO_IMAGE = {
    "filters": "kernel {channel}",
    "correspondence": "{part} in {layer}, {kind}",
    "evolve": "channel {channel} at {checkpoint_name}",
}  # and what their rows are about
SHOWN = {"invariance": perturbations.CURVES_SHOWN}
MOST = 40  # images on a page of the others; filters are small and are all shown
CURVE = (320.0, 100.0)  # width and height of the figure of an error curve


def of_run(found: PublishedRun, start: int = 0) -> Page:
    """What a run of an instrument found, some images of it."""
    rows = findings(found)
    if found.job == "sanity":
        return {"kind": KINDS[found.job][0], "says": [SAYS[found.job]], **sanity.of_run(found, rows, start)}
    groups, size = [rows] if found.job in OF_NO_IMAGE else _by_image(rows), SHOWN.get(found.job, MOST)
    start = parts.begun(start, len(groups), size)
    shown = groups[start : start + size]
    page = {
        "kind": KINDS[found.job][0],
        "says": [SAYS[found.job]],
        "total": len(groups),
        "first": start + 1,
        "last": start + len(shown),
        "previous": links.run(found, max(0, start - size)) if start else None,
        "next": links.run(found, start + size) if start + size < len(groups) else None,
    }
    if found.job == "invert":
        layers = list(dict(sorted({(row.values["layer_index"], row.values["layer"]) for row in rows})).values())
        return page | {"layers": layers, "images": [_inversions(group, layers) for group in shown]}
    if found.job == "invariance":
        return page | perturbations.invariance(shown)
    if found.job == "correspondence":
        return page | perturbations.correspondence(rows)
    return page | {"found": [of_finding(each) for group in shown for each in group]}


def of_row(atlas: Atlas, run_id: str, number: int) -> Page:
    """One row: an occlusion with its maps, an inversion with its curve, a kernel; a random network's with all of its unit."""
    run = atlas.run(run_id)
    row, last = finding(run, number), sum(part.rows for part in run.tables[TABLE_OF[run.job].name]) - 1
    page = {
        "kind": KINDS[run.job][1],
        "title": _title(row),
        "run": parts.of_run(run),
        "says": [SAYS[run.job]],
        "found": of_finding(row),
        "number": number,
        "previous": links.row(run, number - 1) if number else None,
        "next": links.row(run, number + 1) if number < last else None,
    }
    return page | _MORE[run.job](atlas, row)


def _title(row: Finding) -> str:
    """What a row is about."""
    if row.run.job in OF_NO_IMAGE:
        return OF_NO_IMAGE[row.run.job].format(**row.values)
    return str(row.values["image_id"])


def _occlusion(atlas: Atlas, row: Finding) -> dict[str, Any]:
    """Its maps as pictures, where they lie on the input, the colours of classes, and the same channel in scans."""
    values, run = row.values, row.run
    classes = [each["class_index"] for each in values["classes"]]
    names = {each["class_index"]: each["class_name"] or f"class {each['class_index']}" for each in values["classes"]}
    shown = colours.class_colours(classes).items()
    legend = [{"name": names[each], "colour": colours.hexadecimal(colour)} for each, colour in shown]
    if len(classes) > len(legend):
        legend.append(
            {"name": f"{len(classes) - len(legend)} others", "colour": colours.hexadecimal(colours.OTHER_CLASS)}
        )
    scans = [
        each for each in parts.scans_beside(atlas, run) if any(layer.name == values["layer"] for layer in each.layers)
    ]
    return {
        "maps": {name: links.picture(run, row.number, name) for name in MAPS if values[name]},
        "side": run.input_height,
        "first": (values["size"] - values["stride"]) / 2,
        "at": [values["rows"] // 2, values["cols"] // 2],
        "legend": legend,
        "scans": [
            {"run": each.run, "href": links.channel(each, values["layer"], values["channel"])}
            for each in scans
            if each.model == run.model
        ],
    }


def _inversion(_: Atlas, row: Finding) -> dict[str, Any]:
    return {"settings": json.loads(row.values["settings"]), "curve": _curve(row.values["error_curve"])}


_MORE: Mapping[str, Callable[[Atlas, Finding], dict[str, Any]]] = {
    "occlude": _occlusion,
    "invert": _inversion,
    "sanity": lambda _, row: sanity.of_row(findings(row.run), row.number),
    "filters": lambda _, __: {},
    "evolve": lambda _, row: {"strip": links.strips(row.run, row.values["layer"], row.values["channel"])},
    "invariance": lambda _, row: perturbations.moved(row),
    "correspondence": lambda _, row: perturbations.part(row),
}


def of_finding(row: Finding) -> dict[str, Any]:
    """A row's columns, and where its pictures and its own page are."""
    pictures = {name: links.picture(row.run, row.number, name) for name in row.pictures}
    found = {**row.values, "pictures": pictures, "href": links.row(row.run, row.number)}
    if "image_id" in found:
        found["image_href"] = links.image(row.run, found["image_id"])
    return found


def _by_image(rows: Sequence[Finding]) -> list[list[Finding]]:
    groups: dict[int, list[Finding]] = {}
    for row in rows:
        groups.setdefault(row.values["image_index"], []).append(row)
    return list(groups.values())


def _inversions(rows: Sequence[Finding], layers: Sequence[str]) -> dict[str, Any]:
    """An image's inversions as the paper's Figures 6 and 7 have them: a line per restart, a column per layer."""
    lines: dict[int, list[dict[str, Any] | None]] = {}
    for row in rows:
        line = lines.setdefault(row.values["restart"], [None] * len(layers))
        line[layers.index(row.values["layer"])] = of_finding(row)
    first = of_finding(rows[0])
    return {
        "image_id": first["image_id"],
        "href": first["image_href"],
        "original": first["pictures"].get("original"),
        "restarts": [{"restart": restart, "found": line} for restart, line in sorted(lines.items())],
    }


def _curve(errors: Sequence[float | None] | None) -> str:
    """An error curve as the points of a figure; heights are on a logarithmic scale from 1e-4 to 10."""
    width, height = CURVE
    known = [(n, error) for n, error in enumerate(errors or ()) if error is not None and error > 0]
    last = max(1, len(errors or ()) - 1)
    points = [(n / last * width, height * (1 - min(1.0, max(0.0, (math.log10(error) + 4) / 5)))) for n, error in known]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
