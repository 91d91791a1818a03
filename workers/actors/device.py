"""Devices and nodes. Takes a device's name, makes torch deterministic on it; checks and describes the node."""

import platform
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from workers import formats
from workers.actors.environment import Environment
from workers.actors.job import Job
from workers.core.network import Network
from workers.corpus import crew, fetch, manifest
from workers.corpus.decode import DECODER
from workers.corpus.lister import GROUP_ROWS
from workers.corpus.manifest import Row
from workers.errors import NodeError, StaleFile
from workers.host import processors
from workers.host.hangs import Limit
from workers.spec.parts import Precision, ResourcesSpec
from workers.store.root import Root

MOST_BESIDE = (
    16  # most threads or processes of an actor beside its network; more would read faster than any network runs
)
PROBES = 16  # number of files of the corpus that must all be missing before the node is blamed

# On CUDA: deterministic algorithms, no search for the fastest one, no TF32 in float32, no sums in half precision.
BACKENDS = {
    "cudnn.benchmark": False,
    "cudnn.deterministic": True,
    "cudnn.allow_tf32": False,
    "cuda.matmul.allow_tf32": False,
    "cuda.matmul.allow_fp16_reduced_precision_reduction": False,
    "cuda.matmul.allow_bf16_reduced_precision_reduction": False,
}


def configure(device: str, threads: int) -> None:
    """Set all options of this process that a network's numbers depend on.

    Raises:
        NodeError: the device is cuda and torch cannot use it.
    """
    torch.set_num_threads(threads)
    for name, value in BACKENDS.items():
        place, _, setting = name.rpartition(".")
        setattr(attrgetter(place)(torch.backends), setting, value)
    if device == "cuda" and not torch.cuda.is_available():
        raise NodeError(
            f"node {platform.node()} has a GPU that torch {torch.__version__} cannot use; install a torch build that supports "
            "it, or use --device cpu"
        )


def describe(device: str) -> Environment:
    """The software of this process, and the GPU's name or the CPU's vector capability."""
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
    """Check that this node can read the root and the corpus, if there is one, and has the decoders of the job, and describe it.

    Raises:
        NodeError: it cannot.
    """
    _check_decoders(job.decoders)
    if job.pyarrow != pa.__version__:
        raise NodeError(
            f"node {platform.node()} has pyarrow {pa.__version__} instead of {job.pyarrow}; install the same version"
        )
    try:
        if job.manifest:
            rows = [row for row in manifest.rows(root, job.manifest, 0, GROUP_ROWS) if not row.removed]
            _check_corpus([row for row in rows if not row.refused])
    except OSError as error:
        raise NodeError(
            f"node {platform.node()} cannot read {error.filename or error}: is it on shared storage?"
        ) from error
    return describe(job.spec.resources.device)


def _check_decoders(expected: tuple[str, ...]) -> None:
    if formats.installed() != expected:
        here, there = (", ".join(versions) or "none" for versions in (formats.installed(), expected))
        raise NodeError(
            f"node {platform.node()} has different versions of the optional decoders from the machine that started the run: "
            f"{here} instead of {there}; install the same versions on all nodes"
        )


def _check_corpus(rows: Sequence[Row], read_hang_s: float = fetch.READ_HANG_S) -> None:
    """Read a byte of one file of the corpus. Single files may have vanished or changed since they were listed, but not all.

    Raises:
        OSError: no file can be opened.
        ReadError: the storage does not answer.
    """
    probes = rows[:: max(1, len(rows) // PROBES)][:PROBES]
    for number, row in enumerate(probes, 1):
        try:
            return crew.wait_for_answer(partial(fetch.first_byte, row.uri), row.uri, Limit(read_hang_s))
        except (FileNotFoundError, NotADirectoryError, StaleFile):
            if number == len(probes):
                raise
    return None


def normalise(pixels: Tensor, job: Job[Any], precision: Precision) -> Tensor:
    """The network's input on its device, channels last in memory, from (n, channels, h, w) in 0 to 255."""
    device = job.spec.resources.device
    pinned = pixels.pin_memory() if device == "cuda" else pixels  # only from pinned memory does a copy not block
    on_device = pinned.to(device, non_blocking=True)
    return job.model.preprocessing.normalise(on_device).to(getattr(torch, precision))


def move(device: str, network: Network, precision: Precision) -> Network:
    """Move a network to a device and convert it to a floating-point format."""
    return network.to(device=device, dtype=getattr(torch, precision))


def cpu_share(device: str) -> int:
    """The number of threads or processes of one actor beside its network: one on a CPU, its share of the node's CPUs on a GPU."""
    if device == "cpu":
        return 1
    return max(1, min(MOST_BESIDE, processors.share() - 1))


def reader_count(resources: ResourcesSpec) -> int:
    """The number of processes that decode an actor's images; 0 if its own threads do."""
    if resources.readers == "auto":
        return 0 if resources.device == "cpu" else cpu_share(resources.device)
    return resources.readers
