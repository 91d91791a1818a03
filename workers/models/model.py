"""Models by name. Takes a spec, gives a network, its preprocessing and its fingerprint; stores and restores weights."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from workers import files
from workers.core.graph import Node, trace
from workers.core.network import Network, require_convolution
from workers.core.preprocess import Preprocessing
from workers.errors import ModelError, NodeError
from workers.host.retrying import reason
from workers.models import architectures, weights
from workers.models import stored as stored_weights
from workers.models.families.family import Architecture
from workers.spec.parts import ModelSpec
from workers.store.root import Root

CLASSES_BYTES = 64 << 20


@dataclass(frozen=True)
class StoredModel:
    """A network as it is sent to actors. Its weights are stored under the root.

    Attributes:
        source: the source in the spec.
        architecture: constructor and its arguments.
        preprocessing: from image to model input.
        fingerprint: hash of the graph and all weights.
        class_names: names of the outputs; empty if unknown.
    """

    source: str
    architecture: Architecture
    preprocessing: Preprocessing
    fingerprint: str
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A network that can run, with its stored form and its weights."""

    stored: StoredModel
    network: Network
    state: Mapping[str, Tensor]

    @property
    def fingerprint(self) -> str:
        """Hash of the graph and all weights."""
        return self.stored.fingerprint

    @property
    def preprocessing(self) -> Preprocessing:
        """From image to model input."""
        return self.stored.preprocessing


def load(spec: ModelSpec) -> Model:
    """Build the network that a spec names.

    Raises:
        ModelError: the model is unknown, the weights are missing or do not fit, or the graph cannot be lowered.
    """
    architecture, entry = architectures.resolve(spec)
    state = weights.state_of(entry, spec.source, architectures.size_bytes(architecture))
    architecture = architectures.complete(architecture, state)
    architectures.size_bytes(architecture)
    module = architectures.build(architecture)
    fit(module, state, spec.source)
    preprocessing = entry.preprocessing
    network = require_convolution(Network(trace(module, (preprocessing.crop, preprocessing.crop))))
    weights_copy = {name: tensor.detach().contiguous().clone() for name, tensor in module.state_dict().items()}
    names = _read_class_names(spec, network) or entry.class_names
    if len(names) != network.nodes[-1].shape[0]:  # the network's head is not the one that the names belong to
        names = ()
    stored = StoredModel(spec.source, architecture, preprocessing, fingerprint(network), names)
    return Model(stored, network, weights_copy)


def _read_class_names(spec: ModelSpec, network: Network) -> tuple[str, ...]:
    if spec.classes is None:
        return ()
    try:
        lines = files.read(spec.classes, CLASSES_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"class names file {spec.classes!r} cannot be read: {reason(error)}") from error
    names, outputs = tuple(line.strip() for line in lines if line.strip()), network.nodes[-1].shape[0]
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
    """Write the weights to `models/<fingerprint>.safetensors`, unless they exist; gives the model for the actors."""
    if not stored_weights.is_intact(root, model.fingerprint):
        stored_weights.write(root, model.fingerprint, model.state)
    return model.stored


def restore(stored: StoredModel, root: Root) -> Network:
    """Build the network of a stored model, on an actor.

    Raises:
        DamagedFile: the weights under the root are damaged.
        NodeError: this node does not see the weights, or builds another network than the driver.
    """
    state = stored_weights.read(root, stored.fingerprint)
    module = architectures.build(stored.architecture)
    fit(module, state, stored.source)
    size = stored.preprocessing.crop
    network = Network(trace(module, (size, size)))
    mark = fingerprint(network)
    if mark != stored.fingerprint:
        raise NodeError(
            f"this node builds {stored.source!r} with fingerprint {mark}, but the driver built {stored.fingerprint}"
        )
    return network


def layer_fingerprints(network: Network) -> tuple[str, ...]:
    """For each layer, the hash of all nodes that it depends on. Equal hashes mean equal feature maps."""
    hashes: list[str] = []
    for node in network.nodes:
        digest = hashlib.sha256("".join(hashes[number] for number in node.inputs).encode())
        _hash_node(digest, node)
        hashes.append(digest.hexdigest()[:32])
    return tuple(hashes[1:])


def fingerprint(network: Network) -> str:
    """The hash of the graph and all numbers in it: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for node in network.nodes:
        _hash_node(digest, node)
    return digest.hexdigest()[:32]


def _hash_node(digest: Any, node: Node) -> None:  # noqa: ANN401 - hashlib's object has no public type
    digest.update(repr((node.name, type(node.step).__name__, node.step.kind, node.inputs, node.shape)).encode())
    if not is_dataclass(node.step):
        return
    for field in fields(node.step):
        value = getattr(node.step, field.name)
        if isinstance(value, Tensor):
            digest.update(f"{field.name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.contiguous().numpy().tobytes())
        elif not callable(value):
            digest.update(f"{field.name} {value!r}".encode())


def _describe_keys(keys: list[str], problem: str) -> list[str]:
    if len(keys) > 1:
        return [f"{len(keys)} {problem} ({keys[0]}, ...)"]
    return [f"{key} is {problem}" for key in keys]
