"""Engines of the first pass. Takes maxima, gives the same maxima from a network that torch has compiled."""

import fcntl
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from workers.actors.environment import EAGER
from workers.core.maxima import Maxima
from workers.errors import NodeError
from workers.host import memory
from workers.host.retrying import reason
from workers.spec.scan import Engine

TOLERANCE = 1e-4  # difference between the scores of both engines for noise, relative to the largest score of the layer
_CACHE = "TORCHINDUCTOR_CACHE_DIR"


class Runner(Protocol):
    """What runs a network: eager maxima or compiled ones."""

    def of(self, images: Tensor) -> Tensor:
        """See `Maxima.of`."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """Maxima of a compiled network, which takes batches of one size and memory layout only.

    Attributes:
        maxima: the maxima that are computed.
        run: `Maxima.run`, compiled, for exactly `at_once` images.
    """

    maxima: Maxima
    run: Callable[[Tensor], Tensor]

    def of(self, images: Tensor) -> Tensor:
        """See `Maxima.of`."""
        with torch.no_grad():
            parts = [self._run(part) for part in torch.split(images, self.maxima.at_once)]
            return self.maxima.finish(torch.cat(parts), images.dtype)

    def _run(self, images: Tensor) -> Tensor:
        return self.run(padded(images, self.maxima.at_once))[: len(images)]


def padded(images: Tensor, count: int) -> Tensor:
    """Images and as many empty ones as are missing, in a tensor whose strides are always the same."""
    every = images.new_empty(count, *images.shape[1:]).to(memory_format=torch.channels_last)
    every[: len(images)] = images
    every[len(images) :] = 0
    return every


def runner(maxima: Maxima, engine: Engine, device: str, example: Tensor) -> tuple[Runner, str]:
    """What runs a network with an engine, and the engine's name, which is part of the names of results.

    Args:
        maxima: the maxima of the network on its device.
        engine: compiled or eager.
        device: cpu or cuda.
        example: one image on the device; the compiled network is compared with the eager one on it.

    Raises:
        NodeError: the network cannot be compiled on this node.
    """
    if engine is not Engine.COMPILED:
        return maxima, EAGER
    try:
        engine_name = name(device)
        with _cache(engine_name):
            return _compile(maxima, example), engine_name
    except Exception as error:
        for cause in _causes(error):
            if memory.is_exhausted(cause):
                raise cause from None
        raise NodeError(
            f"node {platform.node()} cannot compile the network: {reason(error)}; use --engine eager"
        ) from error


def name(device: str) -> str:
    """The name of the compiled engine of this machine. The C++ compiler makes its code, and so can change its numbers.

    Raises:
        NodeError: there is no compiler.
    """
    if not has_compiler(device):
        raise NodeError(f"there is no C++ compiler {shlex.join(_compiler(device))!r}; install one or set CXX")
    if device == "cuda":
        return "compiled"
    command = [*_compiler(device), "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - as torch runs it
    if answer.returncode or not answer.stdout.strip():
        raise NodeError(f"{shlex.join(command)} fails with exit code {answer.returncode}")
    return f"compiled, {answer.stdout.splitlines()[0]}"


def has_compiler(device: str) -> bool:
    """Whether this machine has the compiler that the compiled engine needs."""
    return shutil.which(_compiler(device)[0]) is not None


def forget() -> None:
    """Free the memory of all compiled networks of this process, which torch would keep until the process ends."""
    if "torch._inductor.codecache" not in sys.modules:
        return
    from torch._inductor.codecache import PyCodeCache

    torch._dynamo.reset()
    for module in PyCodeCache.modules:
        sys.modules.pop(module.__name__, None)
        vars(module).clear()
    PyCodeCache.cache_clear()


def _compile(maxima: Maxima, example: Tensor) -> Compiled:
    """Compile, and compare with the eager engine.

    Raises:
        NodeError: the compiled network gives other scores, or torch does not compile.
    """
    from torch._dynamo import config as dynamo  # takes seconds
    from torch._inductor import config as inductor

    if dynamo.disable:
        raise NodeError("TORCH_COMPILE_DISABLE is set")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    images = padded(example, maxima.at_once)
    expected = maxima.of(images)
    with torch.no_grad(), inductor.patch(freezing=True, compile_threads=1):
        graph = make_fx(lambda images: maxima.run(images))(images)
        compiled = Compiled(maxima, torch.compile(graph, fullgraph=True, dynamic=False))
        actual = compiled.of(images)
    for node, columns in maxima.columns.items():
        difference = float((actual[:, columns] - expected[:, columns]).abs().max())
        allowed = TOLERANCE * max(float(expected[:, columns].abs().max()), TOLERANCE)
        if not difference <= allowed:
            layer = maxima.network.nodes[node].name
            raise NodeError(f"scores of layer {layer!r} differ from the uncompiled network's by up to {difference:.2g}")
    return compiled


@contextmanager
def _cache(engine_name: str) -> Iterator[None]:
    """A cache of compiled code of this engine alone. One process of the machine compiles at a time; others find its code.

    Torch names compiled code by its source and the compiler's command, but not by the compiler's version.
    """
    base = os.environ.get(_CACHE)
    above = Path(base) if base else _own_folder()
    folder = above / f"deconvoy-{hashlib.sha256(engine_name.encode()).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.environ[_CACHE] = str(folder)
        try:
            yield
        finally:
            if base is None:
                del os.environ[_CACHE]
            else:
                os.environ[_CACHE] = base


def _own_folder() -> Path:
    """The folder of this user's caches. Its code is run, so nobody else may write there.

    Raises:
        NodeError: somebody else can.
    """
    folder = Path(tempfile.gettempdir()) / f"deconvoy-compiled-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise NodeError(f"{str(folder)!r} is not a folder that only its owner can write to; remove it, or set {_CACHE}")
    return folder


def _compiler(device: str) -> list[str]:
    """The compiler's command, as torch finds it: for a GPU, Triton builds its launcher in C."""
    if device == "cuda":
        return shlex.split(os.environ.get("CC") or next(filter(shutil.which, ("gcc", "clang")), "gcc"))
    return shlex.split(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++"))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it wraps."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = getattr(cause, "inner_exception", None) or cause.__cause__
