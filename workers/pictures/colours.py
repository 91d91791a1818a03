"""Colours of occlusion maps. Takes maps and classes, gives colours from 0 to 1; only maps of numbers load matplotlib."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Colour = tuple[float, float, float]

HIGH_IS_RED = "coolwarm"  # as in Figure 7 of Zeiler & Fergus 2014; unlike the paper's, even to the eye
SHOWN_CLASSES = 8  # those beyond share a colour
CLASS_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")  # of tab10
OTHER_CLASS = (0.5, 0.5, 0.5)


def class_colours(classes: Sequence[int]) -> Mapping[int, Colour]:
    """A colour for each of the first classes, the commonest first; the others share one."""
    return {index: _shares(colour) for index, colour in zip(classes, CLASS_COLOURS, strict=False)}


def class_picture(classes: Array, colours: Mapping[int, Colour]) -> Array:
    """Classes (rows, columns) as colours (rows, columns, 3) in 0 to 1."""
    return np.array([[colours.get(int(index), OTHER_CLASS) for index in row] for row in classes])


def map_picture(values: Array) -> Array:
    """A quantity (rows, columns) in the colours of `panels.map_panel`, (rows, columns, 3) in 0 to 1."""
    from matplotlib import colormaps

    low, high = float(values.min()), float(values.max())
    return np.asarray(colormaps[HIGH_IS_RED]((values - low) / ((high - low) or 1.0))[..., :3])


def _shares(colour: str) -> Colour:
    """What `hexadecimal` gives, as shares."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red / 255, green / 255, blue / 255


def hexadecimal(colour: Colour) -> str:
    """A colour as pages write it: `#1f77b4`."""
    return "#" + "".join(f"{round(255 * share):02x}" for share in colour)


def describe_others(count: int) -> str:
    """The classes without a colour of their own, for a legend."""
    return f"{count} other{'' if count == 1 else 's'}"
