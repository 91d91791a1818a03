"""Transposed convolutions. Takes a signal and a convolution's weight, gives the signal below, without padding cut off."""

import torch
from torch import Tensor
from torch.nn import functional

FEW = 4  # channels, such as those of an image: torch's kernel is two to three times slower for so few
CACHED_BYTES = 2 << 20
MOST_BYTES = 128 << 20  # of the products of one image


def transposed(
    signal: Tensor, weight: Tensor, stride: tuple[int, int], dilation: tuple[int, int], groups: int
) -> Tensor:
    """The transposed convolution of a signal.

    Args:
        signal: (n, channels above, height, width).
        weight: (channels above, channels below / groups, taps, taps).
        stride: of the convolution, as the other arguments.
        dilation: distance of its taps.
        groups: number of its groups.

    Returns:
        (n, channels below, height, width) on all positions that the convolution reads, also those in the padding.
    """
    height, width = signal.shape[2:]
    product_bytes = signal.itemsize * weight[0].numel() * height * width
    if signal.is_cuda or groups > 1 or weight.shape[1] > FEW or product_bytes > MOST_BYTES:
        return functional.conv_transpose2d(signal, weight, None, stride, 0, 0, groups, dilation)
    taps = weight.flatten(1).t().contiguous()  # (channels below times taps, channels above)
    spans = zip((height, width), stride, weight.shape[2:], dilation, strict=True)
    size = tuple((count - 1) * step + (length - 1) * distance + 1 for count, step, length, distance in spans)
    at_once = max(1, CACHED_BYTES // product_bytes)
    return torch.cat(
        [
            functional.fold(taps @ part.flatten(2), size, weight.shape[2:], dilation, 0, stride)
            for part in torch.split(signal, at_once)
        ]
    )
