"""The engine of a scan. Takes a spec, a network and the size of the corpus, gives what runs the network."""

from collections.abc import Sequence

from workers.actors import engine
from workers.actors.environment import EAGER
from workers.core.network import Layer, Network
from workers.spec.scan import Engine, RunSpec

# Multiplications from which compiling pays. On a CPU, that is ten minutes of one thread, of which a compiled network saves 15 %;
# compiling takes each actor about ten seconds. The number for GPUs is an estimate.
LARGE = {"cpu": 2e13, "cuda": 2e15}


def choose(spec: RunSpec, network: Network, layers: Sequence[Layer], images: int) -> Engine:
    """The engine of a spec whose device is resolved; for auto, eager if the corpus is small, else auto.

    It depends on the whole corpus, not on what is left to scan, so that results of earlier runs are reused.
    """
    device = spec.resources.device
    if spec.scan.engine is not Engine.AUTO:
        return spec.scan.engine
    work = images * network.multiplications(max(layer.node for layer in layers))
    return Engine.AUTO if work >= LARGE[device] and engine.has_compiler(device) else Engine.EAGER


def name(chosen: Engine, device: str) -> str:
    """The expected name of an engine, see `engine.runner`."""
    return EAGER if chosen is Engine.EAGER else engine.name(device)
