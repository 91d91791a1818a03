"""Models by name. Takes a spec, gives a network, its preprocessing and its fingerprint; stores and restores weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from workers import files
from workers.core.graph import trace
from workers.core.network import Network, require_convolution
from workers.core.preprocess import Preprocessing
from workers.errors import ModelError
from workers.host.retrying import reason
from workers.models import architectures, weights
from workers.models import stored as stored_networks
from workers.models.fingerprints import by_layer, fingerprint
from workers.spec.parts import ModelSpec
from workers.store.root import Root

CLASSES_BYTES = 64 << 20


@dataclass(frozen=True)
class StoredModel:
    """A network as it is sent to actors. Its graph and its weights are stored under the root.

    Attributes:
        source: the source in the spec.
        preprocessing: from image to model input.
        fingerprint: hash of the graph and all weights.
        class_names: names of the outputs; empty if unknown.
    """

    source: str
    preprocessing: Preprocessing
    fingerprint: str
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A network that can run, with its stored form and the module that it was made from, which shares its weights."""

    stored: StoredModel
    network: Network
    module: nn.Module

    @property
    def fingerprint(self) -> str:
        """Hash of the graph and all weights."""
        return self.stored.fingerprint

    @property
    def preprocessing(self) -> Preprocessing:
        """From image to model input."""
        return self.stored.preprocessing


def load(spec: ModelSpec, check: Callable[[Network], None] = lambda _: None) -> Model:
    """Build the network that a spec names.

    Args:
        spec: the spec.
        check: checks the network's graph; called before weights are downloaded, and then again.

    Raises:
        ModelError: the model is unknown, the weights are missing or do not fit, or the graph cannot be lowered.
    """
    architecture, entry = architectures.resolve(spec)
    if entry.file is None:
        check(_network(architectures.build(architecture), entry.preprocessing))
    state = weights.state_of(entry, spec.source, architectures.size_bytes(architecture))
    architecture = architectures.complete(architecture, state)
    architectures.size_bytes(architecture)
    module = architectures.build(architecture)
    fit(module, state, spec.source)
    network = _network(module, entry.preprocessing)
    check(network)
    names = _read_class_names(spec, network) or entry.class_names
    if len(names) != network.nodes[network.output].shape[0]:
        names = ()  # the network's head is not the one that the names belong to
    stored = StoredModel(spec.source, entry.preprocessing, fingerprint(network.nodes), names)
    return Model(stored, network, module)


def outline(spec: ModelSpec) -> Network:
    """The network that a spec names, for its layers and their geometry. No weights are downloaded.

    Raises:
        ModelError: see `load`.
    """
    architecture, entry = architectures.resolve(spec)
    if entry.file is not None:
        return load(spec).network
    architectures.size_bytes(architecture)
    return _network(architectures.build(architecture), entry.preprocessing)


def _network(module: nn.Module, preprocessing: Preprocessing) -> Network:
    return require_convolution(Network(trace(module, (preprocessing.crop, preprocessing.crop))))


def _read_class_names(spec: ModelSpec, network: Network) -> tuple[str, ...]:
    if spec.classes is None:
        return ()
    try:
        lines = files.read(spec.classes, CLASSES_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"class names file {spec.classes!r} cannot be read: {reason(error)}") from error
    names, outputs = tuple(line.strip() for line in lines if line.strip()), network.nodes[network.output].shape[0]
    if len(names) != outputs:
        raise ModelError(
            f"class names file {spec.classes!r} has {len(names)} lines, but the model has {outputs} outputs"
        )
    return names


def fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a module as float32. Unused keys are only allowed for auxiliary heads.

    Raises:
        ModelError: a key is missing, unused, or has another shape, or its tensor cannot be used.
        DivergedError: a tensor contains NaN or infinity.
    """
    expected = module.state_dict()
    unused = [key for key in state if key not in expected and not key.startswith(("aux1.", "aux2.", "AuxLogits."))]
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    misshapen = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    shapes = [f"{key} has shape {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}" for key in misshapen]
    problems = [*_describe_keys(missing, "missing"), *_describe_keys(unused, "unused"), *shapes[:1]]
    if problems:
        raise ModelError(f"the weights do not fit {source!r}: {'; '.join(problems)}")
    converted = {key: weights.convert(key, state[key], expected[key], source) for key in expected if key in state}
    module.load_state_dict(converted, strict=False)


def store(model: Model, root: Root) -> StoredModel:
    """Write the network to `models/<fingerprint>.safetensors`, unless it exists; gives the model for the actors."""
    if not stored_networks.is_intact(root, model.fingerprint):
        stored_networks.write(root, model.fingerprint, model.network.nodes)
    return model.stored


def restore(stored: StoredModel, root: Root) -> Network:
    """Read the network of a stored model, on an actor. Nothing is built: the file holds the graph.

    Raises:
        DamagedFile: the file under the root is damaged.
        NodeError: this node does not see the file.
    """
    return Network(stored_networks.read(root, stored.fingerprint))


def layer_fingerprints(network: Network) -> tuple[str, ...]:
    """For each layer, the hash of all nodes that it depends on. Equal hashes mean equal feature maps."""
    hashes = by_layer(network.nodes)
    return tuple(hashes[layer.node] for layer in network.layers)


def _describe_keys(keys: list[str], problem: str) -> list[str]:
    if len(keys) > 1:
        return [f"{len(keys)} {problem} ({keys[0]}, ...)"]
    return [f"{key} is {problem}" for key in keys]
