"""The engine of a scan. Takes a spec, a network and the size of the corpus, gives what runs the network."""

from collections.abc import Sequence

from workers.actors import engine
from workers.actors.environment import EAGER
from workers.core.network import Layer, Network
from workers.errors import NodeError, SpecError
from workers.spec.parts import Precision
from workers.spec.scan import Engine, RunSpec

# Multiplications from which compiling pays: 100 minutes of a core, of which a compiled network saves about 15 %. Compiling
# takes each actor 3 to 28 s.
LARGE = 2e14


def choose(spec: RunSpec, network: Network, layers: Sequence[Layer], images: int) -> Engine:
    """The engine of a spec whose device is resolved: eager or compiled.

    For auto, it depends on the whole corpus, not on what is left to scan, so that results of earlier runs are reused.
    """
    if spec.scan.engine is not Engine.AUTO:
        return spec.scan.engine
    if spec.resources.device != "cpu" or spec.resources.precision is not Precision.FLOAT32:
        return Engine.EAGER
    work = images * network.multiplications(max(layer.node for layer in layers))
    return Engine.COMPILED if work >= LARGE and engine.has_compiler("cpu") else Engine.EAGER


def expected_name(chosen: Engine, device: str) -> str:
    """The name of an engine as this machine would give it, see `engine.runner`.

    Raises:
        SpecError: this machine cannot compile.
    """
    try:
        return engine.name(device) if chosen is Engine.COMPILED else EAGER
    except NodeError as error:
        raise SpecError([f"scan.engine: {error}; alternatively, use --engine eager"]) from error
