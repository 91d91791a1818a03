"""Resizing of images, bit for bit as torchvision does it. Takes pixels, gives pixels of another size.

Importing torchvision for this alone would cost every actor two seconds, because it loads all of its networks.
"""

import platform

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.spec.parts import Interpolation, Pair

FAST = ("AVX2", "AVX512")  # with these, and on ARM, torch resizes uint8 itself; otherwise by way of float32


def resize(image: Tensor, size: Pair, interpolation: Interpolation) -> Tensor:
    """Resize an image, with antialiasing unless it takes the nearest pixels.

    Args:
        image: uint8 or float32 (channels, height, width), on the CPU.
        size: new height and width, pixels.
        interpolation: how new pixels are computed.

    Returns:
        (channels, *size) of the same type and in the same order in memory. Bicubic interpolation of float32 overshoots.

    Source: torchvision.transforms.v2.functional.resize.
    """
    if tuple(image.shape[1:]) == size:
        return image
    if interpolation is Interpolation.NEAREST:
        return interpolate(_batched(image), list(size), mode="nearest")[0]
    is_exact = image.dtype == torch.float32 or _resizes_bytes(interpolation)
    given = _batched(image) if is_exact else _batched(image).to(torch.float32)
    resized = interpolate(given, list(size), mode=interpolation.value, align_corners=False, antialias=True)
    if not is_exact:
        resized = resized.clamp_(0, 255).round_().to(image.dtype)
    return resized[0]


def _resizes_bytes(interpolation: Interpolation) -> bool:
    """Whether torch interpolates uint8 without a detour."""
    is_fast = torch.backends.cpu.get_cpu_capability() in FAST or platform.machine() in ("aarch64", "arm64")
    return interpolation is Interpolation.BICUBIC or is_fast


def _batched(image: Tensor) -> Tensor:
    """A batch of one image. If its channels come last in memory, it says so: torch would take it for contiguous otherwise."""
    batch = image[None]
    if batch.is_contiguous(memory_format=torch.channels_last) and batch.numel() != batch.stride(0):
        return batch.as_strided(batch.shape, (batch.numel(), *batch.stride()[1:]))
    return batch
