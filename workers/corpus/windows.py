"""Windows of DICOM images. Takes a header, gives the map from stored values to grey."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from workers.corpus.pixels import Pixels
from workers.errors import Reason, Rejected

LINEAR, EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"
STEP = 1e-6  # width of a window that is a step
VALUES = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True)
class Window:
    """The map from stored values to grey: rescaled values are slope x value + intercept.

    Attributes:
        slope: of the rescaling.
        intercept: of the rescaling.
        low: the rescaled value that is black; the centre of a sigmoid. None if neither a header nor a spec says it.
        high: the rescaled value that is white, likewise.
        width: the width of a sigmoid; None for straight lines.
    """

    slope: float
    intercept: float
    low: float | None = None
    high: float | None = None
    width: float | None = None

    @property
    def is_complete(self) -> bool:
        """Whether black and white are known."""
        return self.low is not None

    def spread(self, smallest: int, largest: int) -> Self:
        """The window whose black and white are two stored values."""
        low, high = sorted(self.slope * value + self.intercept for value in (smallest, largest))
        return replace(self, low=low, high=max(high, low + STEP))

    def apply(self, values: Pixels, largest: int) -> Pixels:
        """Grey on a scale of 0 to `largest`, as integers."""
        low, high = self.low or 0.0, self.high or 0.0
        grey = values.astype(np.float64)
        grey *= self.slope
        grey += self.intercept - low
        if self.width is None:
            grey *= largest / (high - low)
        else:
            grey *= -4 / self.width
            np.exp(np.clip(grey, -700, 700, out=grey), out=grey)
            grey += 1
            np.divide(largest, grey, out=grey)
        grey += 0.5
        return np.clip(grey, 0, largest, out=grey).astype(np.uint16)


def window_of(header: Any, span: tuple[float, float] | None) -> Window:  # noqa: ANN401
    """The window of an image.

    Args:
        header: a pydicom data set.
        span: the rescaled values that are black and white, instead of the header's window.

    Raises:
        Rejected: the header has a table instead of numbers, or a window without width.
    """
    if _find_value(header, "ModalityLUTSequence") is not None:
        raise Rejected(Reason.UNSUPPORTED_MODE, "values with a modality LUT, which is not applied")
    slope, intercept = _read_number(header, "RescaleSlope"), _read_number(header, "RescaleIntercept")
    line = 1.0 if slope is None else slope, intercept or 0.0
    centre, width = _read_number(header, "WindowCenter"), _read_number(header, "WindowWidth")
    if span is not None:
        return Window(*line, *span)
    if centre is not None and width is not None:
        return _window(line, str(_find_value(header, "VOILUTFunction") or LINEAR), centre, width)
    if _find_value(header, "VOILUTSequence") is not None:
        raise Rejected(Reason.UNSUPPORTED_MODE, "a VOI LUT and no window; set --depth range:LOW-HIGH")
    return Window(*line)


def _window(line: tuple[float, float], shape: str, centre: float, width: float) -> Window:
    """The window of a centre and a width; see DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    if shape == SIGMOID and width > 0:
        return Window(*line, centre, centre, width)
    if shape == EXACT and width > 0:
        return Window(*line, centre - width / 2, centre + width / 2)
    if shape == LINEAR and width >= 1:
        half = max(width - 1, STEP) / 2
        return Window(*line, centre - 0.5 - half, centre - 0.5 + half)
    raise Rejected(Reason.UNSUPPORTED_MODE, f"a window of width {width:g} and function {shape}")


def _read_number(header: Any, keyword: str) -> float | None:  # noqa: ANN401 - a pydicom data set
    """The first value of an element."""
    value = _find_value(header, keyword)
    if value is None or value == "":
        return None
    return float(value if isinstance(value, str | int | float) else value[0])


def _find_value(header: Any, keyword: str) -> Any:  # noqa: ANN401 - an element's value
    """The value of an element of a data set, or of the functional groups of its first frame; None if it has none."""
    if keyword in header:
        return header.get(keyword)
    groups = [items[0] for name in GROUPS if (items := header.get(name))]
    parts = [items[0] for group in groups for name in VALUES if (items := group.get(name))]
    return next((part.get(keyword) for part in parts if keyword in part), None)
