"""Modules whose weights are not allocated. Takes nothing, gives a context in which constructors build such modules."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _NumbersOnCpu(TorchFunctionMode):
    """Puts numbers on the CPU: some constructors, such as RegNet's, compute the widths of their layers from them."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        given = dict(kwargs or {})
        if function in (torch.tensor, torch.arange, torch.linspace) and given.get("device") is None:
            given["device"] = "cpu"
        return function(*args, **given)


@contextmanager
def without_weights() -> Iterator[None]:
    """Give the tensors that constructors make a shape but no memory, except those made from numbers and sequences."""
    with torch.device("meta"), _NumbersOnCpu():
        yield
