"""Networks by name. Takes a model's source, gives its steps, preprocessing and fingerprint; stores weights and restores them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from workers import files
from workers.core.graph import Node, trace
from workers.core.network import Network, check_geometry
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
    """A network as it travels to the actors; its weights lie under the root.

    Attributes:
        source: the source as the user gave it.
        architecture: constructor and its arguments.
        preprocessing: from photo to input.
        fingerprint: hash of the graph and of every weight.
        class_names: names of the outputs, or empty.
    """

    source: str
    architecture: Architecture
    preprocessing: Preprocessing
    fingerprint: str
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A network that can run, and what it was made of."""

    stored: StoredModel
    network: Network
    state: Mapping[str, Tensor]

    @property
    def fingerprint(self) -> str:
        """Hash of the graph and of every weight."""
        return self.stored.fingerprint

    @property
    def preprocessing(self) -> Preprocessing:
        """From photo to input."""
        return self.stored.preprocessing


def load(spec: ModelSpec) -> Model:
    """Build the network that a spec names.

    Raises:
        ModelError: an unknown model, weights that are missing or do not fit, or a graph that cannot be lowered.
    """
    architecture, entry = architectures.resolve(spec)
    state = weights.state_of(entry, spec.source, architectures.size_bytes(architecture))
    architecture = architectures.fitted(architecture, state)
    architectures.size_bytes(architecture)
    module = architectures.build(architecture)
    fit(module, state, spec.source)
    preprocessing = entry.preprocessing
    network = check_geometry(Network(trace(module, (preprocessing.crop, preprocessing.crop))))
    kept = {name: tensor.detach().contiguous().clone() for name, tensor in module.state_dict().items()}
    mark = fingerprint(network)
    names = _class_names(spec, network) or entry.class_names
    if len(names) != network.nodes[-1].shape[0]:  # another head than that of the weights that the names belong to
        names = ()
    return Model(StoredModel(spec.source, architecture, preprocessing, mark, names), network, kept)


def _class_names(spec: ModelSpec, network: Network) -> tuple[str, ...]:
    if spec.classes is None:
        return ()
    try:
        lines = files.read(spec.classes, CLASSES_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"class names {spec.classes!r} cannot be read: {reason(error)}") from error
    names, outputs = tuple(line.strip() for line in lines if line.strip()), network.nodes[-1].shape[0]
    if len(names) != outputs:
        raise ModelError(f"class names {spec.classes!r} has {len(names)} lines, the model has {outputs} outputs")
    return names


def fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a module as float32; keys of auxiliary heads may be left over, nothing else.

    Raises:
        ModelError: a key is missing, left over, or has another shape, or its tensor is not usable.
        DivergedError: a tensor holds NaN or infinity.
    """
    wanted = module.state_dict()
    left_over = [key for key in state if key not in wanted and not key.startswith(("aux1.", "aux2.", "AuxLogits."))]
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    bent = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or left_over or bent:
        raise ModelError(f"the weights do not fit {source!r}: {_misfit(missing, left_over, bent, wanted, state)}")
    usable = {key: weights.usable(key, state[key], wanted[key], source) for key in wanted if key in state}
    module.load_state_dict(usable, strict=False)


def store(model: Model, root: Root) -> StoredModel:
    """Write the weights to `models/<fingerprint>.safetensors`, unless they are there; gives what actors find them by."""
    if not stored_weights.is_whole(root, model.fingerprint):
        stored_weights.write(root, model.fingerprint, model.state)
    return model.stored


def restore(stored: StoredModel, root: Root) -> Network:
    """The network of a stored model, as an actor builds it.

    Raises:
        DamagedFile: the weights under the root are damaged.
        NodeError: this node does not see them, or builds another network than the driver did.
    """
    state = stored_weights.read(root, stored.fingerprint)
    module = architectures.build(stored.architecture)
    fit(module, state, stored.source)
    size = stored.preprocessing.crop
    network = Network(trace(module, (size, size)))
    mark = fingerprint(network)
    if mark != stored.fingerprint:
        raise NodeError(f"this node builds {stored.source!r} with fingerprint {mark}, the driver {stored.fingerprint}")
    return network


def layer_fingerprints(network: Network) -> tuple[str, ...]:
    """For each layer the hash of all nodes that it depends on: where two are equal, so are the feature maps."""
    found: list[str] = []
    for node in network.nodes:
        hashed = hashlib.sha256("".join(found[number] for number in node.inputs).encode())
        _hash_node(hashed, node)
        found.append(hashed.hexdigest()[:32])
    return tuple(found[1:])


def fingerprint(network: Network) -> str:
    """Hash the graph and every number in it: 32 hexadecimal digits."""
    hashed = hashlib.sha256()
    for node in network.nodes:
        _hash_node(hashed, node)
    return hashed.hexdigest()[:32]


def _hash_node(hashed: Any, node: Node) -> None:  # noqa: ANN401 - hashlib's object has no public type
    hashed.update(repr((node.name, type(node.step).__name__, node.step.kind, node.inputs, node.shape)).encode())
    if not is_dataclass(node.step):
        return
    for field in fields(node.step):
        value = getattr(node.step, field.name)
        if isinstance(value, Tensor):
            hashed.update(f"{field.name} {value.dtype} {tuple(value.shape)}".encode())
            hashed.update(value.contiguous().numpy().tobytes())
        elif not callable(value):
            hashed.update(f"{field.name} {value!r}".encode())


def _misfit(
    missing: list[str], left_over: list[str], bent: list[str], wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({missing[0]}, ...)" if len(missing) > 1 else f"{missing[0]} is missing")
    if left_over:
        parts.append(
            f"{len(left_over)} left over ({left_over[0]}, ...)"
            if len(left_over) > 1
            else f"{left_over[0]} is left over"
        )
    if bent:
        key = bent[0]
        parts.append(f"{key} is {tuple(state[key].shape)} and should be {tuple(wanted[key].shape)}")
    return "; ".join(parts)
