"""The deconvnet by hand, on whole images, for chains of modules. Takes an input and a unit, gives the projection."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def deconvnet(modules: list[nn.Module], images: Tensor, unit: tuple[int, int, int]) -> Tensor:
    """Zero all but one unit, then transpose, unpool by scatter-add, rectify, module by module, down to (3, h, w)."""
    inputs, switches = [], []
    value = images
    for module in modules:
        inputs.append(value)
        if isinstance(module, nn.MaxPool2d):
            value, where = functional.max_pool2d(
                value,
                module.kernel_size,
                module.stride,
                module.padding,
                ceil_mode=module.ceil_mode,
                return_indices=True,
            )
            switches.append(where)
        else:
            value = nn.ReLU()(value) if isinstance(module, nn.ReLU) else module(value)
            switches.append(None)
    signal = torch.zeros_like(value)
    signal[(0, *unit)] = value[(0, *unit)]
    for module, below, where in zip(reversed(modules), reversed(inputs), reversed(switches), strict=True):
        if isinstance(module, nn.MaxPool2d):
            flat = torch.zeros_like(below).flatten(2)
            signal = flat.scatter_add(2, where.flatten(2), signal.flatten(2)).view_as(below)
        elif isinstance(module, nn.ReLU):
            signal = signal.clamp(min=0)
        elif isinstance(module, nn.Conv2d):
            signal = _transposed(module, signal, below)
    return signal[0]


def _transposed(module: nn.Conv2d, signal: Tensor, below: Tensor) -> Tensor:
    assert isinstance(module.padding, tuple)
    extra = [
        below.shape[2 + axis]
        - ((signal.shape[2 + axis] - 1) * module.stride[axis] - 2 * module.padding[axis] + module.kernel_size[axis])
        for axis in (0, 1)
    ]
    return functional.conv_transpose2d(signal, module.weight, None, module.stride, module.padding, extra)
