"""Transposed convolutions equal torch's, whichever way is faster."""

import pytest
import torch
from torch.nn import functional

from workers.core import transposed as module
from workers.core.transposed import FEW, transposed

CASES = [
    ((5, 8, 7, 6), (8, 3, 3, 3), (1, 1), (1, 1), 1),
    ((5, 8, 7, 6), (8, 3, 11, 5), (4, 2), (1, 1), 1),
    ((3, 8, 4, 1), (8, 1, 3, 2), (2, 3), (3, 2), 1),
    ((2, 8, 1, 1), (8, FEW, 7, 7), (2, 2), (1, 1), 1),
    ((2, 8, 5, 5), (8, FEW + 1, 3, 3), (2, 2), (1, 1), 1),
    ((2, 8, 5, 5), (8, 2, 3, 3), (2, 2), (1, 1), 4),
]


@pytest.mark.parametrize("cached", [1, module.CACHED_BYTES])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_ways_give_the_same_signal(monkeypatch, case, cached):
    monkeypatch.setattr(module, "CACHED_BYTES", cached)
    signal_shape, weight_shape, stride, dilation, groups = case
    chance = torch.Generator().manual_seed(0)
    signal, weight = (
        torch.randn(shape, dtype=torch.float64, generator=chance) for shape in (signal_shape, weight_shape)
    )
    expected = functional.conv_transpose2d(signal, weight, None, stride, 0, 0, groups, dilation)
    actual = transposed(signal.contiguous(memory_format=torch.channels_last), weight, stride, dilation, groups)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
