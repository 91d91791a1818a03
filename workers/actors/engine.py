"""Engines of the first pass. Takes maxima, gives the same maxima from a compiled network, or says why it cannot be compiled."""

import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from workers.actors.environment import EAGER
from workers.core.maxima import Maxima
from workers.errors import NodeError
from workers.host.retrying import reason
from workers.spec.scan import Engine

# Largest difference between the scores of both engines in noise, relative to the largest score of the layer.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


class Runner(Protocol):
    """What runs a network: eager maxima or compiled ones."""

    def of(self, images: Tensor) -> Tensor:
        """See `Maxima.of`."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """Maxima of a compiled network, which takes batches of one size only.

    Attributes:
        maxima: the maxima that are computed.
        module: the compiled network, from (at_once, channels, height, width) to (at_once, channels of all layers).
    """

    maxima: Maxima
    module: Callable[[Tensor], Tensor]

    def of(self, images: Tensor) -> Tensor:
        """See `Maxima.of`."""
        with torch.no_grad():
            return torch.cat([self._run(part) for part in torch.split(images, self.maxima.at_once)])

    def _run(self, images: Tensor) -> Tensor:
        missing = self.maxima.at_once - len(images)
        if missing:
            images = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
        scores = self.module(images.contiguous(memory_format=torch.channels_last))
        return scores[: self.maxima.at_once - missing]


def runner(maxima: Maxima, engine: Engine, device: str, example: Tensor) -> tuple[Runner, str]:
    """What runs a network with an engine, and the engine's name as results are named by it.

    Args:
        maxima: the maxima of the network on its device.
        engine: compiled, eager, or auto, which is compiled wherever that works.
        device: cpu or cuda.
        example: images on the device, at least one; the compiled network is compared with the eager one on them.

    Raises:
        NodeError: the network cannot be compiled, and the engine is compiled.
    """
    if engine is Engine.EAGER:
        return maxima, EAGER
    try:
        return _compile(maxima, example), name(device)
    except Exception as error:
        if engine is Engine.AUTO:
            return maxima, EAGER
        cause = _line(error) if has_compiler(device) else f"it has no C++ compiler {_compiler()!r}"
        raise NodeError(f"node {platform.node()} cannot compile the network: {cause}; use --engine eager") from error


def name(device: str) -> str:
    """The name of the compiled engine of this machine: its code, and so its numbers, can depend on the C++ compiler."""
    return "compiled" if device == "cuda" else f"compiled, {_compiler_version()}"


def has_compiler(device: str) -> bool:
    """Whether this machine has what the compiled engine needs. On a GPU, torch brings it along."""
    return device == "cuda" or shutil.which(_compiler()) is not None


def _compile(maxima: Maxima, example: Tensor) -> Compiled:
    """Compile, and compare with the eager engine.

    Raises:
        NodeError: the compiled network gives other scores.
    """
    from torch._inductor import config  # takes seconds

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    filled = example[torch.arange(maxima.at_once) % len(example)].contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), config.patch(freezing=True, compile_threads=1):
        graph = make_fx(lambda images: maxima.run(images))(filled)  # it counts the arguments, also self
        compiled = Compiled(maxima, torch.compile(graph, fullgraph=True, dynamic=False))
        found = compiled.of(filled)
    expected = maxima.of(filled)
    for node, columns in maxima.columns.items():
        difference = float((found[:, columns] - expected[:, columns]).abs().max())
        allowed = TOLERANCE[filled.dtype] * float(expected[:, columns].abs().max())
        if not difference <= allowed:
            raise NodeError(
                f"{maxima.network.nodes[node].name} differs from the uncompiled network by {difference:.2g}, "
                f"more than {allowed:.2g}"
            )
    return compiled


def _compiler() -> str:
    return os.environ.get("CXX") or "g++"


def _compiler_version() -> str:
    command = [_compiler(), "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - as torch runs it
    return (answer.stdout.splitlines() or [_compiler()])[0]


def _line(error: Exception) -> str:
    """The first line of an error."""
    return reason(error).splitlines()[0]
