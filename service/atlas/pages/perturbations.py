"""Pages about perturbed images. Takes runs and rows of their tables, gives values with curves as points."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from service.atlas import links
from service.atlas.pages.rows import Columns, Of
from service.atlas.pages.values import Value
from service.query.findings import Finding, findings
from service.query.perturbations import BARS, COLOURS, ORDER, TITLES
from workers.store.tables.correspondence import CORRESPONDENCE

CURVES_SHOWN = 8  # images whose curves are in one chart
CHART = (240.0, 110.0)  # width and height of a chart
PROBABILITY = "probability"


class Curve(Value):
    """A curve, as points of a chart."""

    colour: str
    points: str


class ChartLine(Value):
    """A row of charts, one for each transform, with the curves of some images; all on one scale, from 0 to `top`."""

    title: str
    top: float
    charts: tuple[tuple[Curve, ...], ...]


class Charts(Value):
    """Curves of some images: the range of amounts of each transform, and rows of charts."""

    transforms: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    lines: tuple[ChartLine, ...]


class MovedPicture(Value):
    """An image, transformed by an amount."""

    amount: float
    href: str
    picture: str


class MovedImage(Value):
    """An image, the colour of its curves, and its pictures for each transform."""

    image_id: str
    href: str
    colour: str
    class_name: str
    target: str | None
    pictures: tuple[tuple[MovedPicture, ...], ...]


class Amount(Value):
    """An amount of a transform, and its row."""

    amount: float
    href: str


class BarRow(Columns):
    """A bar for a part, kind and layer: its width and the ends of its error bar are shares of the longest bar."""

    href: str
    colour: str
    width: float
    error: float
    ends: tuple[float, float]


class PartBars(Value):
    """The bars of a part."""

    part: str
    bars: tuple[Annotated[BarRow, Of(CORRESPONDENCE)], ...]


class LayerBars(Value):
    """The parts of a layer."""

    layer: str
    parts: tuple[PartBars, ...]


class KindOfBar(Value):
    """An entry of the legend."""

    kind: str
    colour: str
    says: str


class Hidden(Value):
    """A picture of the images with a part hidden."""

    part: str
    kind: str
    picture: str


class Bars(Value):
    """The parts of each layer, with a bar for each kind; `top` is the value of the longest bar."""

    legend: tuple[KindOfBar, ...]
    top: float
    layers: tuple[LayerBars, ...]
    hidden: tuple[Hidden, ...]
    left_out: tuple[str, ...]


def charts(rows: Sequence[Finding]) -> Charts:
    """Curves of some images: a row of charts for each layer, all on one scale, and one row for the class probability.

    A chart has a curve for each image, as the points of a figure; heights range from 0 to the row's `top`.
    """
    if not rows:  # all images were rejects
        return Charts(transforms=(), ranges=(), lines=())
    values = [row.values for row in rows]
    layers = dict(sorted({(row["layer_index"], row["layer"]) for row in values}))
    transforms = sorted({row["transform"] for row in values}, key=ORDER.index)
    top = math.ceil(2 * max(row["relative_distance"] or 0.0 for row in values)) / 2 or 1.0
    named = [(f"{name}: relative feature distance", index, "relative_distance", top) for index, name in layers.items()]
    lines = [*named, ("probability of the class", min(layers), PROBABILITY, 1.0)]
    return Charts(
        transforms=tuple(TITLES[transform] for transform in transforms),
        ranges=tuple(_range([row["amount"] for row in values if row["transform"] == name]) for name in transforms),
        lines=tuple(
            ChartLine(
                title=title,
                top=highest,
                charts=tuple(_chart(values, layer, name, column, highest) for name in transforms),
            )
            for title, layer, column, highest in lines
        ),
    )


def _chart(
    values: Sequence[Mapping[str, Any]], layer: int, transform: str, column: str, top: float
) -> tuple[Curve, ...]:
    images = dict.fromkeys(row["image_id"] for row in values)
    return tuple(_curve(n, _select(values, image, layer, transform), column, top) for n, image in enumerate(images))


def _curve(number: int, values: Sequence[Mapping[str, Any]], column: str, top: float) -> Curve:
    """One image's curve as the points of a chart, from the least amount on the left to the largest."""
    width, height = CHART
    low, high = _range([row["amount"] for row in values])
    known = [(row["amount"], row[column]) for row in values if row[column] is not None]
    points = [((x - low) / (high - low) * width, height * (1 - min(1.0, y / top))) for x, y in known]
    return Curve(colour=colour(number), points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))


def colour(number: int) -> str:
    """The colour of an image's curves."""
    return COLOURS[number % len(COLOURS)]


def moved_images(groups: Sequence[Sequence[Finding]]) -> tuple[MovedImage, ...]:
    """Some images of an invariance run; each group holds the rows of one image."""
    return tuple(_image(number, group) for number, group in enumerate(groups))


def same_transform(row: Finding) -> list[Finding]:
    """The rows with the same image and transform."""
    key = (row.values["image_index"], row.values["transform"])
    return [other for other in findings(row.run) if (other.values["image_index"], other.values["transform"]) == key]


def place(row: Finding, rows: Sequence[Finding]) -> float:
    """The x coordinate of a row in the chart of its image and transform."""
    low, high = _range([other.values["amount"] for other in rows])
    return float((row.values["amount"] - low) / (high - low) * CHART[0])


def amounts(row: Finding, rows: Sequence[Finding]) -> tuple[Amount, ...]:
    """The amounts for which `rows` has a row of the same layer."""
    return tuple(
        Amount(amount=other.values["amount"], href=links.row(other.run, other.number))
        for other in rows
        if other.values["layer"] == row.values["layer"]
    )


def bars(rows: Sequence[Finding]) -> Bars:
    """Rows of correspondence as bars: one for each layer, part and kind, with pictures of the hidden parts."""
    top = max((_reach(row.values) for row in rows), default=0.0) or 1.0
    layers = dict(sorted({(row.values["layer_index"], row.values["layer"]) for row in rows}))
    left_out = {f"{row.values['part']}: {row.values['why_left_out']}" for row in rows if row.values["left_out"]}
    return Bars(
        legend=tuple(KindOfBar(kind=kind, colour=colour, says=says) for kind, (colour, says, _) in BARS.items()),
        top=top,
        layers=tuple(
            LayerBars(layer=name, parts=_parts([row for row in rows if row.values["layer_index"] == index], top))
            for index, name in layers.items()
        ),
        hidden=tuple(_hidden(row) for row in rows if "picture" in row.pictures),
        left_out=tuple(sorted(left_out)),
    )


def same_part(row: Finding) -> list[Finding]:
    """The rows with the same part and layer, those of random places included."""
    key = (row.values["layer_index"], row.values["part"])
    return [other for other in findings(row.run) if (other.values["layer_index"], other.values["part"]) == key]


def _parts(rows: Sequence[Finding], top: float) -> tuple[PartBars, ...]:
    """The parts of a layer, each with its bars."""
    parts = []
    for name in sorted({row.values["part"] for row in rows}):
        by_kind = {row.values["kind"]: row for row in rows if row.values["part"] == name}
        parts.append(PartBars(part=name, bars=tuple(_bar(by_kind[kind], top) for kind in BARS if kind in by_kind)))
    return tuple(parts)


def _bar(row: Finding, top: float) -> BarRow:
    values = row.values
    delta, error = values["delta"] or 0.0, values[BARS[values["kind"]][2]] or 0.0
    return BarRow(
        **values,
        href=links.row(row.run, row.number),
        colour=BARS[values["kind"]][0],
        width=delta / top,
        error=error,
        ends=(max(0.0, delta - error) / top, (delta + error) / top),
    )


def _reach(values: Mapping[str, Any]) -> float:
    return (values["delta"] or 0.0) + (values[BARS[values["kind"]][2]] or 0.0)


def _hidden(row: Finding) -> Hidden:
    picture = links.picture(row.run, row.number, "picture")
    return Hidden(part=row.values["part"], kind=row.values["kind"], picture=picture)


def _image(number: int, group: Sequence[Finding]) -> MovedImage:
    """An image, the colour of its curves, and its pictures for each transform."""
    first = group[0].values
    transforms = sorted({row.values["transform"] for row in group}, key=ORDER.index)
    shown = [row for row in group if "picture" in row.pictures]
    return MovedImage(
        image_id=first["image_id"],
        href=links.image(group[0].run, first["image_id"]),
        colour=colour(number),
        class_name=first["class_name"] or f"class {first['class_index']}",
        target=first["target"],
        pictures=tuple(tuple(_picture(row) for row in shown if row.values["transform"] == name) for name in transforms),
    )


def _picture(row: Finding) -> MovedPicture:
    picture = links.picture(row.run, row.number, "picture")
    return MovedPicture(amount=row.values["amount"], href=links.row(row.run, row.number), picture=picture)


def _select(values: Sequence[Mapping[str, Any]], image: str, layer: int, transform: str) -> list[Mapping[str, Any]]:
    key = (image, layer, transform)
    return [row for row in values if (row["image_id"], row["layer_index"], row["transform"]) == key]


def _range(amounts: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest amount; if they are equal, the second is 1 larger."""
    low, high = min(amounts), max(amounts)
    return low, high if high > low else low + 1
