"""Where networks run. Takes a device's name, makes torch deterministic on it; says what a node has and can reach."""

import os
import platform
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from workers.actors.job import Environment, Job
from workers.core.network import Network
from workers.corpus import crew, fetch, manifest
from workers.corpus.decode import DECODER
from workers.corpus.lister import GROUP_ROWS
from workers.corpus.manifest import Row
from workers.errors import NodeError, StaleFile
from workers.host.hangs import Limit
from workers.spec.parts import Precision
from workers.store.root import Root

PROBES = 16  # files of the corpus that a node may find missing before it is blamed

# On CUDA: deterministic algorithms, no search for the fastest one, no TF32 in float32, no sums in half precision.
BACKENDS = {
    "cudnn.benchmark": False,
    "cudnn.deterministic": True,
    "cudnn.allow_tf32": False,
    "cuda.matmul.allow_tf32": False,
    "cuda.matmul.allow_fp16_reduced_precision_reduction": False,
    "cuda.matmul.allow_bf16_reduced_precision_reduction": False,
}


def settle(device: str, threads: int) -> None:
    """Set everything in this process on which a network's numbers depend.

    Raises:
        NodeError: the device is cuda and torch cannot use it.
    """
    torch.set_num_threads(threads)
    for name, value in BACKENDS.items():
        place, _, setting = name.rpartition(".")
        setattr(attrgetter(place)(torch.backends), setting, value)
    if device == "cuda" and not torch.cuda.is_available():
        raise NodeError(f"node {platform.node()} was given a GPU that torch {torch.__version__} cannot use")


def describe(device: str) -> Environment:
    """This process: versions, and the GPU's name or the CPU's vector capability."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return Environment(
        deconvoy=version("deconvoy"),
        python=platform.python_version(),
        torch=str(torch.__version__),
        torchvision=version("torchvision"),
        decoder=DECODER,
        device=name,
        node=platform.node(),
    )


def check(job: Job[Any], root: Root) -> Environment:
    """Prove that this node reaches the root and the corpus, and describe it.

    Raises:
        NodeError: it does not, and why.
    """
    try:
        rows = [row for row in manifest.rows(root, job.manifest, 0, GROUP_ROWS) if not row.removed]
        _check_corpus([row for row in rows if not row.refused])
    except OSError as error:
        raise NodeError(
            f"node {platform.node()} cannot read {error.filename or error}: is it on a shared storage?"
        ) from error
    return describe(job.spec.resources.device)


def _check_corpus(rows: Sequence[Row], read_hang_s: float = fetch.READ_HANG_S) -> None:
    """Open one of some files. Single ones may have gone or changed since they were listed; all of them is a node's fault.

    Raises:
        OSError: none can be opened.
        ReadError: their storage does not answer.
    """
    tries = rows[:: max(1, len(rows) // PROBES)][:PROBES]
    for number, row in enumerate(tries, 1):
        try:
            return crew.wait_for_answer(partial(fetch.first_byte, row.uri), row.uri, Limit(read_hang_s))
        except (FileNotFoundError, NotADirectoryError, StaleFile):
            if number == len(tries):
                raise
    return None


def normalised(pixels: Tensor, job: Job[Any], precision: Precision) -> Tensor:
    """uint8 (n, 3, h, w) as the network's input on its device, channels last in memory."""
    there = pixels.to(job.spec.resources.device, non_blocking=True)
    return job.model.preprocessing.normalise(there).to(getattr(torch, precision))


def network_on(device: str, network: Network, precision: Precision) -> Network:
    """The network on a device, in a number format."""
    return network.to(device=device, dtype=getattr(torch, precision))


def decode_threads(device: str) -> int:
    """Decoding threads of one actor: one beside a CPU actor, the node's share beside a GPU."""
    if device == "cpu":
        return 1
    return max(1, (os.cpu_count() or 1) // max(1, torch.cuda.device_count()) - 1)
