"""Encoding of pictures. Takes uint8 (height, width, 3), gives encoded bytes, identical for identical pixels."""

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image

Pixels = np.ndarray[Any, Any]

LOSSLESS_BELOW_PX = 64
PATCH_QUALITY = 90
PREVIEW_QUALITY = 80
PREVIEW_SIDE_PX = 320
PILLOW_BYTES = 4  # per pixel of an RGB image
SHOWN_BYTES = 3  # per pixel of what is encoded
NOTHING = np.full((1, 1, 3), 128, np.uint8)
STRIP_GAP_PX = 4
STRIP_GROUND = (128, 128, 128)


def patch(pixels: Pixels, image_format: Literal["webp", "png"]) -> bytes:
    """A patch as PNG or WebP; WebP is lossless for small patches, which lossy compression would damage.

    A patch without pixels, of a unit that sees nothing of the image, becomes a grey pixel.
    """
    pixels = pixels if pixels.size else NOTHING
    lossless = max(pixels.shape[:2]) < LOSSLESS_BELOW_PX
    return _png(pixels) if image_format == "png" else _webp(pixels, lossless=lossless, quality=PATCH_QUALITY)


def projection(pixels: Pixels, image_format: Literal["webp", "png"]) -> bytes:
    """A projection as PNG or lossless WebP: lossy WebP subsamples colour, which carries half of a projection."""
    return _png(pixels) if image_format == "png" else _webp(pixels, lossless=True, quality=0)


def strip(encoded: Sequence[bytes], side: int) -> bytes:
    """Pictures side by side, each at most `side` pixels high and wide, as WebP."""
    canvas = Image.new("RGB", (len(encoded) * (side + STRIP_GAP_PX) - STRIP_GAP_PX, side), STRIP_GROUND)
    for number, data in enumerate(encoded):
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP")) as opened:
            small = opened.convert("RGB")
        small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
        canvas.paste(small, (number * (side + STRIP_GAP_PX), 0))
    return _webp(np.asarray(canvas), lossless=False, quality=PATCH_QUALITY)


def preview(pixels: Pixels, image_format: Literal["webp", "png"]) -> bytes:
    """A small copy whose longer side is at most 320 pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((PREVIEW_SIDE_PX, PREVIEW_SIDE_PX), Image.Resampling.LANCZOS, reducing_gap=None)
    small = np.asarray(image)
    return _png(small) if image_format == "png" else _webp(small, lossless=False, quality=PREVIEW_QUALITY)


def preview_bytes(height: int, width: int) -> int:
    """The memory that `preview` needs in addition to the pixels: Pillow's copy, and the copy resized in one direction."""
    return PILLOW_BYTES * height * (width + PREVIEW_SIDE_PX)


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _webp(pixels: Pixels, *, lossless: bool, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=lossless, quality=quality, method=0 if lossless else 1)
    return buffer.getvalue()
