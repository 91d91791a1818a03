"""Pictures that notebooks show. Takes encoded pictures, gives pixels, files, and PNG for display."""

import io
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.errors import UsageError

FORMATS = ("PNG", "WEBP", "JPEG")
SUFFIXES = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
QUALITY = 95  # of a picture that is converted to WebP or JPEG


@dataclass(frozen=True)
class Picture:
    """An encoded picture. A notebook shows it.

    Attributes:
        data: the encoded bytes.
        media: their media type: image/png, image/webp or image/jpeg.
    """

    data: bytes
    media: str

    def __repr__(self) -> str:
        width, height = self.image().size
        return f"<deconvoy.Picture {self.media} {width} x {height} px>"

    def image(self) -> Image.Image:
        """The picture as a Pillow image, RGB."""
        with Image.open(io.BytesIO(self.data), formats=FORMATS) as opened:
            return opened.convert("RGB")

    def pixels(self) -> NDArray[np.uint8]:
        """The picture as uint8 (height, width, 3)."""
        return np.asarray(self.image())

    def save(self, path: str | PathLike[str]) -> None:
        """Write a file of the format that its suffix names: the encoded bytes unchanged if `media` is that format.

        Raises:
            UsageError: the suffix is not .png, .webp, .jpg or .jpeg.
            OSError: the file cannot be written.
        """
        path = Path(path)
        media = SUFFIXES.get(path.suffix.lower())
        if media is None:
            raise UsageError(f"{str(path)!r} ends in none of {', '.join(SUFFIXES)}")
        path.write_bytes(self.data if media == self.media else _encode(self.image(), media))

    def _repr_png_(self) -> bytes:
        return self.data if self.media == "image/png" else encode_png(self.image()).data


def encode_png(image: Image.Image) -> Picture:
    """A drawn image as PNG."""
    return Picture(_encode(image, "image/png"), "image/png")


def _encode(image: Image.Image, media: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, media.removeprefix("image/"), quality=QUALITY)
    return buffer.getvalue()
