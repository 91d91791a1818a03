"""Colour profiles. Takes an image and its ICC profile, gives colours in sRGB.

A profile that is damaged, or is for other colours than those of its image, counts as none: the values are used as they are.
"""

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageCms

# The mode that the values of a profile's colour space have, and the modes of images that have such values.
MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
FITTING = {
    "RGB": {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "YCbCr"},
    "L": {"L", "LA", "La", "1"},
    "CMYK": {"CMYK"},
}
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


@dataclass(frozen=True)
class Conversion:
    """A conversion of one image's colours to sRGB.

    Attributes:
        mode: the mode of the values that it takes.
    """

    mode: str
    _transform: Any

    def apply(self, image: Image.Image) -> Image.Image:
        """The colours of an image in RGB; transparency is kept, as RGBA."""
        if image.mode not in ("RGBA", "RGBa", "LA", "La", "PA") and "transparency" not in image.info:
            return self._convert(image)
        clear = image.convert("LA" if image.mode == "La" else image.mode).convert("RGBA")
        colours = self._convert(clear.getchannel(0) if self.mode == "L" else clear.convert("RGB"))
        colours.putalpha(clear.getchannel(3))
        return colours

    def _convert(self, image: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(image.convert(self.mode), self._transform)
        assert converted is not None  # noqa: S101 - it is None only for a conversion in place
        return converted


def conversion_of(image: Image.Image) -> Conversion | None:
    """The conversion of an image's colours to sRGB; None if it has no profile that can be used."""
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        mode = MODES.get(profile.profile.xcolor_space, "")
        if image.mode not in FITTING.get(mode, ()):
            return None
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(profile, srgb, mode, "RGB", INTENT, FLAGS)
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    return Conversion(mode, transform)
