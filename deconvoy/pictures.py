"""Pictures that notebooks show. Takes encoded pictures, gives pixels, files, and PNG for display."""

import io
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FORMATS = ("PNG", "WEBP", "JPEG")


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
        """Write the encoded bytes to a file unchanged; `media` gives the type for its suffix.

        Raises:
            OSError: the file cannot be written.
        """
        Path(path).write_bytes(self.data)

    def _repr_png_(self) -> bytes:
        return self.data if self.media == "image/png" else encode_png(self.image()).data


def encode_png(image: Image.Image) -> Picture:
    """A drawn image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture(buffer.getvalue(), "image/png")
