"""From images to model inputs and back. Takes pixels of 8 or 16 bits, gives tensors; takes input boxes, gives source boxes."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch

from workers.core.receptive_field import Box
from workers.core.resizing import resize
from workers.errors import Reason, Rejected
from workers.spec.parts import Fit, Interpolation, Pair

DEEP_WHITE = 257  # a 16-bit value divided by this is the value in 0 to 255


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop the centre, scale to 0..1, subtract the mean, divide by the standard deviation.

    Attributes:
        resize: short side after resizing, or height and width (see `fit`), pixels.
        crop: side of the centre crop, or its height and width, pixels: the size of the model's input.
        mean: mean per channel, on a scale of 0 to 1; the model's input has as many channels as this has values.
        std: standard deviation per channel, on a scale of 0 to 1.
        interpolation: interpolation of the resize, always with antialiasing.
        fit: how an image is resized to a height and width.
        pad: the value, in 0 to 255, around an image that letterbox has resized; by default the mean.
        bits: bits per sample that images are read with.
    """

    resize: int | Pair
    crop: int | Pair
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    fit: Fit = Fit.STRETCH
    pad: int | Literal["mean"] = "mean"
    bits: int = 8

    @property
    def channels(self) -> int:
        """Channels of the model's input."""
        return len(self.mean)

    @property
    def size(self) -> Pair:
        """Height and width of the model's input, pixels."""
        return both(self.crop)

    def configuration(self) -> dict[str, Any]:
        """The fields as plain values. A field that has its default is left out, so that results keep their names."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    def resized_size(self, height: int, width: int) -> Pair:
        """Height and width after resizing.

        For a short side, the long side is in proportion and rounded down, as in torchvision. For a height and width that are
        reached in proportion, both sides are rounded, as in timm.
        """
        if isinstance(self.resize, int):
            long = int(self.resize * max(height, width) / min(height, width))
            return (self.resize, long) if height <= width else (long, self.resize)
        if self.fit is Fit.STRETCH:
            return self.resize
        ratios = height / self.resize[0], width / self.resize[1]
        ratio = max(ratios) if self.fit is Fit.LETTERBOX else min(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def origin(self, height: int, width: int) -> Pair:
        """Top and left of the centre crop in the resized image; negative where the image is padded."""
        new_height, new_width = self.resized_size(height, width)
        return _middle(new_height - self.size[0]), _middle(new_width - self.size[1])

    def prepare(self, pixels: np.ndarray[Any, Any], max_pixels: int, size: Pair | None = None) -> torch.Tensor:
        """Resize and crop one image.

        Args:
            pixels: uint8 or uint16 (height, width, channels), upright.
            max_pixels: largest resized image.
            size: height and width of the image in its file, if the decoder has reduced it; by default those of the pixels.

        Returns:
            (channels, *size) in 0 to 255: uint8 for images of 8 bits, float32 for those of 16.

        Raises:
            Rejected: the resized image would be too large, for example if the image has 1 x 10,000 pixels.
        """
        height, width = size or pixels.shape[:2]
        new_height, new_width = self.resized_size(height, width)
        if new_height * new_width > max_pixels:
            larger = f"is resized to {new_width} x {new_height}, more than the limit of {max_pixels} pixels"
            detail = f"{width} x {height} {larger}"
            raise Rejected(Reason.TOO_MANY_PIXELS, detail)
        values = pixels.astype(np.float32) / np.float32(DEEP_WHITE) if pixels.dtype == np.uint16 else pixels
        image = torch.from_numpy(values).permute(2, 0, 1)  # (channels, height, width), channels last in memory
        resized = resize(image, (new_height, new_width), self.interpolation)
        if resized.is_floating_point():
            resized = resized.clamp_(0, 255)  # bicubic interpolation overshoots
        return self._cut(resized, *self.origin(height, width))

    def _cut(self, resized: torch.Tensor, top: int, left: int) -> torch.Tensor:
        """The centre crop of a resized image, padded where it leaves the image."""
        height, width = self.size
        inside = Box(top, left, top + height, left + width).cut(*resized.shape[1:])
        crop = resized[:, inside.top : inside.bottom, inside.left : inside.right]
        if (inside.height, inside.width) != (height, width):
            padded = self._padding(resized.dtype)
            y, x = max(0, -top), max(0, -left)
            padded[:, y : y + inside.height, x : x + inside.width] = crop
            return padded
        if resized.numel() <= 2 * crop.numel():
            return crop
        # A view would keep the whole resized image in memory, which may be a thousand times as long as it is wide.
        return crop.permute(1, 2, 0).clone(memory_format=torch.contiguous_format).permute(2, 0, 1)

    def _padding(self, dtype: torch.dtype) -> torch.Tensor:
        """An input that has the value of the padding everywhere, channels last in memory."""
        values = torch.tensor([255 * mean for mean in self.mean] if self.pad == "mean" else [self.pad] * self.channels)
        values = values.round() if dtype == torch.uint8 else values
        return values.to(dtype).repeat(*self.size, 1).permute(2, 0, 1)

    def prepare_bytes(self, height: int, width: int) -> int:
        """The memory that `prepare` needs in addition to the pixels: the resized image, and one resized in one direction."""
        new_height, new_width = self.resized_size(height, width)
        values = new_height * new_width + max(height * new_width, new_height * width)
        if self.bits == 8:
            return self.channels * values
        return 4 * self.channels * (values + height * width)  # float32, also of the pixels

    @property
    def input_bytes(self) -> int:
        """The memory of one prepared image."""
        return self.channels * self.size[0] * self.size[1] * (1 if self.bits == 8 else 4)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Convert pixels (n, channels, h, w) in 0 to 255 to the model's input scale, float32, channels last in memory."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        scaled = images.contiguous().to(torch.float32, copy=True).div_(255)
        normalised = scaled.sub_(mean).div_(std)  # with channels last, this takes three times as long
        return normalised.contiguous(memory_format=torch.channels_last)

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


def both(size: int | Pair) -> Pair:
    """Height and width of a size that may be a single side."""
    return (size, size) if isinstance(size, int) else size


def _middle(room: int) -> int:
    """The start of a centre crop that leaves `room` pixels, negative for padding; rounded as in torchvision and timm."""
    return round(room / 2) if room >= 0 else -(-room // 2)
