"""The pixels that a network takes. Takes rows in the order of a file, gives upright pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from workers.spec.decoding import DecodeSpec
from workers.spec.parts import Pair

DEEP_WHITE = 0xFFFF
BAND_PIXELS = 1 << 20
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap height and width

Pixels = np.ndarray[Any, np.dtype[Any]]
Claim = Callable[[int, int, int], None]  # height, width, bytes that decoding needs: waits until they are free
Least = Callable[[int, int], Pair]  # height and width of an image to the least height and width that are of use
Rows = Callable[[int, int], Pixels]  # rows [top, bottom) as (rows, width), or (rows, width, channels)


@dataclass(frozen=True)
class PixelFormat:
    """The pixels that a network takes, and how they are made from the samples of a file.

    Attributes:
        channels: 1 for grey, 3 for RGB, or as many as the images have bands.
        bits: bits per sample; with 16, grey images of 16 bits keep them, and those of 8 are scaled.
        white: the white of 16-bit files that do not declare their own.
        span: the values that become black and white, in images of more than 8 bits; None for those of the file.
        bands: the bands that become channels, counted from 1; empty for colours.
        convert: whether colours are converted to sRGB by the profile in the file.
        least: the least size to which JPEG files may be reduced; None for no reduction.
    """

    channels: int = 3
    bits: int = 8
    white: int = DEEP_WHITE
    span: tuple[float, float] | None = None
    bands: tuple[int, ...] = ()
    convert: bool = False
    least: Least | None = None

    @classmethod
    def of(cls, channels: int, bits: int, spec: DecodeSpec, least: Least) -> Self:
        """The pixels of a network for a spec, whose depth has been chosen.

        Args:
            channels: channels of the network's input.
            bits: bits per sample of it.
            spec: how images are decoded.
            least: gives the size, in pixels, that the network's preprocessing resizes an image to.
        """
        reduced = least if spec.jpeg == "reduced" else None
        return cls(channels, bits, spec.white, spec.span, spec.bands, spec.colour == "convert", reduced)

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """The type of the pixels."""
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def largest(self) -> int:
        """The value of white in the pixels."""
        return 0xFF if self.bits == 8 else DEEP_WHITE

    @property
    def has_depth(self) -> bool:
        """Whether a depth other than 16 bits was chosen."""
        return self.white != DEEP_WHITE or self.span is not None

    @property
    def pixel_bytes(self) -> int:
        """The size of one pixel."""
        return self.channels * self.bits // 8


RGB = PixelFormat()


def no_claim(height: int, width: int, working_bytes: int) -> None:
    """Decode at once, however much memory it needs."""


def assemble(height: int, width: int, rows: Rows, form: PixelFormat, orientation: int = 1) -> Pixels:
    """Upright pixels, (height, width, channels), from rows that are converted in bands.

    Args:
        height: rows in the file.
        width: columns in the file.
        rows: converts some rows; grey ones may stand for all channels.
        form: the pixels to give.
        orientation: the EXIF orientation.
    """
    size = (width, height) if orientation in SIDEWAYS else (height, width)
    upright = np.empty((*size, form.channels), form.dtype)
    stored = _view_as_stored(upright, orientation)
    step = max(1, BAND_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        converted = rows(top, bottom)
        stored[top:bottom] = converted if converted.ndim == 3 else converted[..., None]
    return upright


def _view_as_stored(upright: Pixels, orientation: int) -> Pixels:
    """A view of an upright image with its pixels in the file's order; see the EXIF tag 0x0112."""
    views: dict[int, Callable[[], Pixels]] = {
        2: lambda: upright[:, ::-1],
        3: lambda: upright[::-1, ::-1],
        4: lambda: upright[::-1],
        5: lambda: upright.swapaxes(0, 1),
        6: lambda: np.rot90(upright, 1),
        7: lambda: upright[::-1, ::-1].swapaxes(0, 1),
        8: lambda: np.rot90(upright, -1),
    }
    return views[orientation]() if orientation in views else upright
