"""Names, order and colours of the results of perturbed images, for sheets and pages. Takes rows, gives their layers' names."""

from collections.abc import Iterable, Mapping
from typing import Any

from workers.spec.invariance import Transform

COLOURS = (  # of images: matplotlib's tab10, copied because the web server must not load matplotlib
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
)
TITLES = {
    "translate_y": "shift down, px",
    "translate_x": "shift right, px",
    "scale": "scale factor",
    "rotate": "rotation counter-clockwise, degrees",
}
BARS = {  # by kind: colour, label, and the column of the error bar
    "part": ("#1f77b4", "part: as given (± standard error over images)", "standard_error"),
    "random": ("#9a9a9a", "random: random places per image (± standard deviation of draws)", "std"),
    "together": ("#d0d0d0", "together: random places shared by all images (± standard deviation of draws)", "std"),
}
ORDER = tuple(str(transform) for transform in Transform)


def layer_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of the layers of some rows, in the order of the graph."""
    return list(dict(sorted({(row["layer_index"], row["layer"]) for row in rows})).values())
