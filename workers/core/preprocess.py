"""From images to model inputs and back. Takes uint8 pixels, gives tensors; takes input boxes, gives source boxes."""

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
    """Resize the short side, crop the centre, scale to 0..1, subtract the mean, divide by the standard deviation.

    Attributes:
        resize: short side after resizing, pixels.
        crop: side of the centre crop, pixels; at most `resize`.
        mean: mean per RGB channel, on a scale of 0 to 1.
        std: standard deviation per RGB channel, on a scale of 0 to 1.
        interpolation: interpolation of the resize, always with antialiasing.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing: the long side is in proportion to the short side, rounded down."""
        long = int(self.resize * max(height, width) / min(height, width))
        return (self.resize, long) if height <= width else (long, self.resize)

    def origin(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the centre crop in the resized image."""
        new_height, new_width = self.resized_size(height, width)
        return round((new_height - self.crop) / 2), round((new_width - self.crop) / 2)

    def prepare(self, pixels: np.ndarray[Any, Any], max_pixels: int) -> torch.Tensor:
        """Resize and crop one image, in 8 bits.

        Args:
            pixels: uint8 (height, width, 3), upright RGB.
            max_pixels: largest resized image.

        Returns:
            uint8 (3, crop, crop).

        Raises:
            Rejected: the resized image would be too large, for example if the image has 1 x 10,000 pixels.
        """
        height, width = pixels.shape[:2]
        new_height, new_width = self.resized_size(height, width)
        if new_height * new_width > max_pixels:
            detail = f"{width} x {height} becomes {new_width} x {new_height} when resized, over {max_pixels}"
            raise Rejected(Reason.TOO_MANY_PIXELS, detail)
        image = torch.from_numpy(pixels).permute(2, 0, 1)  # (3, height, width), channels last in memory
        mode = InterpolationMode(self.interpolation.value)
        resized: torch.Tensor = functional.resize(image, [new_height, new_width], interpolation=mode, antialias=True)
        top, left = self.origin(height, width)
        crop = resized[:, top : top + self.crop, left : left + self.crop]
        if resized.numel() <= 2 * crop.numel():
            return crop
        # A view would keep the whole resized image in memory, which may be a thousand times as long as it is wide.
        return crop.permute(1, 2, 0).clone(memory_format=torch.contiguous_format).permute(2, 0, 1)

    def prepare_bytes(self, height: int, width: int) -> int:
        """The memory that `prepare` needs in addition to the pixels: the resized image, and one resized in one direction."""
        new_height, new_width = self.resized_size(height, width)
        return CHANNELS * (new_height * new_width + max(height * new_width, new_height * width))

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Convert pixels (n, 3, h, w) in 0 to 255 to the model's input scale, float32, channels last in memory."""
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        scaled = images.to(torch.float32, memory_format=torch.channels_last, copy=True).div_(255)
        return scaled.sub_(mean).div_(std)

    def source_box(self, box: Box, height: int, width: int) -> Box:
        """A box of the model's input in an upright source image of a size, rounded outward; may extend beyond the image."""
        new_height, new_width = self.resized_size(height, width)
        top, left = self.origin(height, width)
        return Box(
            top=(box.top + top) * height // new_height,
            left=(box.left + left) * width // new_width,
            bottom=-(-(box.bottom + top) * height // new_height),
            right=-(-(box.right + left) * width // new_width),
        )

    def input_box(self, box: Box, height: int, width: int) -> Box:
        """A box of an upright source image of a size in the model's input, rounded outward; may extend beyond the input."""
        new_height, new_width = self.resized_size(height, width)
        top, left = self.origin(height, width)
        return Box(
            top=box.top * new_height // height - top,
            left=box.left * new_width // width - left,
            bottom=-(-box.bottom * new_height // height) - top,
            right=-(-box.right * new_width // width) - left,
        )
