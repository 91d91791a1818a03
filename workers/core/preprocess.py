"""From a photo to the model's input and back. Takes uint8 pixels, gives tensors; takes input boxes, gives source boxes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from workers.core.receptive_field import Box
from workers.errors import Reason, Rejected
from workers.spec.parts import Interpolation

CHANNELS = 3


@dataclass(frozen=True)
class Preprocessing:
    """Resize the short side, cut the centre, scale to 0..1, subtract the mean, divide by the standard deviation.

    Attributes:
        resize: short side after resizing, pixels.
        crop: side of the centre crop, pixels; at most `resize`.
        mean: per RGB channel, of values in 0 to 1.
        std: per RGB channel, of values in 0 to 1.
        interpolation: of the resize; always with antialiasing.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize: the short side as asked, the long one in proportion, rounded down."""
        long = int(self.resize * max(height, width) / min(height, width))
        return (self.resize, long) if height <= width else (long, self.resize)

    def origin(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the centre crop in the resized image."""
        tall, wide = self.resized(height, width)
        return round((tall - self.crop) / 2), round((wide - self.crop) / 2)

    def prepare(self, pixels: np.ndarray[Any, Any], max_pixels: int) -> torch.Tensor:
        """Resize and crop one image, still in 8 bits.

        Args:
            pixels: uint8 (height, width, 3), upright RGB.
            max_pixels: largest resized image.

        Returns:
            uint8 (3, crop, crop).

        Raises:
            Rejected: the resized image would be too large (an image of 1 x 10,000 pixels, say).
        """
        height, width = pixels.shape[:2]
        tall, wide = self.resized(height, width)
        if tall * wide > max_pixels:
            raise Rejected(
                Reason.TOO_MANY_PIXELS, f"{width} x {height} becomes {wide} x {tall} when resized, over {max_pixels}"
            )
        image = torch.from_numpy(pixels).permute(2, 0, 1)  # (3, height, width), channels last in memory
        mode = InterpolationMode(self.interpolation.value)
        resized: torch.Tensor = functional.resize(image, [tall, wide], interpolation=mode, antialias=True)
        top, left = self.origin(height, width)
        cut = resized[:, top : top + self.crop, left : left + self.crop]
        if resized.numel() <= 2 * cut.numel():
            return cut
        # A view would keep the whole resized image, which may be a thousand times as long as it is wide.
        return cut.permute(1, 2, 0).clone(memory_format=torch.contiguous_format).permute(2, 0, 1)

    def prepare_bytes(self, height: int, width: int) -> int:
        """The most memory that `prepare` takes beside the pixels: the resized image, and the one resized in one direction."""
        tall, wide = self.resized(height, width)
        return CHANNELS * (tall * wide + max(height * wide, tall * width))

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """From pixels (n, 3, h, w) in 0 to 255 to the model's input scale, float32, channels last in memory."""
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        scaled = images.to(torch.float32, memory_format=torch.channels_last, copy=True).div_(255)
        return scaled.sub_(mean).div_(std)

    def source_box(self, box: Box, height: int, width: int) -> Box:
        """Model-input pixels as pixels of an upright source image of this size, rounded outward; may leave it."""
        tall, wide = self.resized(height, width)
        top, left = self.origin(height, width)
        return Box(
            top=(box.top + top) * height // tall,
            left=(box.left + left) * width // wide,
            bottom=-(-(box.bottom + top) * height // tall),
            right=-(-(box.right + left) * width // wide),
        )

    def input_box(self, box: Box, height: int, width: int) -> Box:
        """Pixels of an upright source image of this size as model-input pixels, rounded outward; may leave the input."""
        tall, wide = self.resized(height, width)
        top, left = self.origin(height, width)
        return Box(
            top=box.top * tall // height - top,
            left=box.left * wide // width - left,
            bottom=-(-box.bottom * tall // height) - top,
            right=-(-box.right * wide // width) - left,
        )
