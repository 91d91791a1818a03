"""Models by name. Takes a spec, gives a network, its preprocessing and its fingerprint; stores and restores weights."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from workers import files
from workers.core.graph import trace
from workers.core.network import Network, require_convolution
from workers.core.preprocess import Preprocessing
from workers.errors import ModelError
from workers.host.retrying import reason
from workers.models import architectures, fitting, weights
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
    """A network that can run.

    Attributes:
        stored: its stored form.
        network: the network.
        module: the module that it was made from, which shares its weights.
        notes: what was changed in the keys of its weights, for the user.
    """

    stored: StoredModel
    network: Network
    module: nn.Module
    notes: tuple[str, ...] = ()

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
    expected = architectures.outline(architecture)
    read = weights.state_of(entry, spec.source, architectures.size_bytes(expected))
    aligned = fitting.align(read.state, expected)
    architecture = architectures.complete(architecture, aligned.state)
    architectures.outline(architecture)
    module = architectures.build(architecture)
    fitting.fit(module, aligned.state, spec.source)
    network = _network(module, entry.preprocessing)
    check(network)
    names = _read_class_names(spec, network) or entry.class_names
    if len(names) != network.nodes[network.output].shape[0]:
        names = ()  # the network's head is not the one that the names belong to
    stored = StoredModel(spec.source, entry.preprocessing, fingerprint(network.nodes), names)
    return Model(stored, network, module, (*read.notes, *aligned.notes))


def outline(spec: ModelSpec) -> Network:
    """The network that a spec names, for its layers and their geometry. No weights are downloaded.

    Raises:
        ModelError: see `load`.
    """
    architecture, entry = architectures.resolve(spec)
    if entry.file is not None:
        return load(spec).network
    architectures.outline(architecture)
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
