"""Models by name. Takes a spec, gives a network, its preprocessing and its fingerprint; stores and restores weights."""

import copy
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from torch import nn

from workers.core.graph import trace
from workers.core.network import Network, require_convolution
from workers.core.preprocess import Preprocessing
from workers.errors import GraphError, ModelError
from workers.host.retrying import reason
from workers.models import architectures, classes, fitting, weights
from workers.models import stored as stored_networks
from workers.models.families.family import IMAGENET_MEAN, IMAGENET_STD
from workers.models.fingerprints import by_layer, fingerprint
from workers.spec import families
from workers.spec.parts import Interpolation, ModelSpec
from workers.store.root import Root

DEFAULT = Preprocessing(256, 224, IMAGENET_MEAN, IMAGENET_STD, Interpolation.BILINEAR)


@dataclass(frozen=True)
class StoredModel:
    """A network as it is sent to actors. Its graph and its weights are stored under the root.

    Attributes:
        source: the source in the spec, with a branch or tag of the Hugging Face Hub replaced by its commit.
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
        module: the module that it was made from, which shares its weights; None if the root held the network.
        notes: what was changed in the keys of its weights, for the user.
        class_words: for each class, more words that find it, separated by commas; empty if none are known.
    """

    stored: StoredModel
    network: Network
    module: nn.Module | None
    notes: tuple[str, ...] = ()
    class_words: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Hash of the graph and all weights."""
        return self.stored.fingerprint

    @property
    def preprocessing(self) -> Preprocessing:
        """From image to model input."""
        return self.stored.preprocessing


# The networks that this process has exported and still uses, by fingerprint. A job stores its network when it starts to write.
_EXPORTED: WeakValueDictionary[str, Model] = WeakValueDictionary()


def load(spec: ModelSpec, check: Callable[[Network], None] = lambda _: None, root: Root | None = None) -> Model:
    """Build the network that a spec names.

    Args:
        spec: the spec.
        check: checks the network's graph; called before weights are downloaded, and then again.
        root: the run's root, which may hold the network.

    Raises:
        ModelError: the model is unknown, the weights are missing or do not fit, or the graph cannot be lowered.
    """
    mark = families.stored_fingerprint(spec.source)
    if mark is not None:
        return _load_stored(spec, mark, check, root)
    architecture, entry = architectures.resolve(spec)
    expected = architectures.outline(architecture)  # refuses a network that is too large before it is built
    if entry.file is None:
        check(_network(architectures.build(architecture), entry.preprocessing))
    read = weights.state_of(entry, spec.source, architectures.size_bytes(expected))
    aligned = fitting.align(read.state, expected, entry.unused)
    architecture = architectures.complete(architecture, aligned.state)
    architectures.outline(architecture)
    module = architectures.build(architecture)
    fitting.fit(module, aligned.state, spec.source)
    network = _network(module, entry.preprocessing)
    check(network)
    names, words = classes.read(spec.classes, network.nodes[network.output].shape[0])
    names = names or entry.class_names
    if len(names) != network.nodes[network.output].shape[0]:
        names = ()  # the network's head is not the one that the names belong to
    source = families.with_model(spec.source, architecture.name)
    stored = StoredModel(source, entry.preprocessing, fingerprint(network.nodes), names)
    return Model(stored, network, module, (*read.notes, *aligned.notes), words)


def export(module: nn.Module, name: str, preprocessing: Preprocessing, class_names: tuple[str, ...] = ()) -> Model:
    """The network of a module of any class. While the caller keeps it, `load` finds it by its source `stored://...`.

    Args:
        module: takes images (n, channels, height, width) in model-input scale. A copy of it is exported, in float32 and in
            evaluation mode; the module itself does not change.
        name: a name for it.
        preprocessing: from image to model input.
        class_names: names of its outputs.

    Raises:
        ModelError: torch cannot export it, or it has no convolution.
    """
    try:
        own = copy.deepcopy(module).cpu().float().eval().requires_grad_(False)
    except Exception as error:  # a module may hold anything, and its class may forbid copies
        raise ModelError(f"{type(module).__name__} cannot be copied: {reason(error)}") from error
    return of_module(own, name, preprocessing, class_names)


def of_module(module: nn.Module, name: str, preprocessing: Preprocessing, class_names: tuple[str, ...] = ()) -> Model:
    """The network of a module with float32 weights on the CPU, in evaluation mode; see `export`."""
    network = _network(module, preprocessing)
    source = families.stored_source(name, fingerprint(network.nodes))
    model = Model(StoredModel(source, preprocessing, fingerprint(network.nodes), class_names), network, module)
    _EXPORTED[model.fingerprint] = model
    return model


def _load_stored(spec: ModelSpec, mark: str, check: Callable[[Network], None], root: Root | None) -> Model:
    """A network that this process has exported, or that a root holds, with its preprocessing."""
    network = _read_stored(spec, mark, root)
    preprocessing = _stored_preprocessing(spec, network)
    check(network)
    names, words = classes.read(spec.classes, network.nodes[network.output].shape[0])
    return Model(StoredModel(spec.source, preprocessing, mark, names), network, None, class_words=words)


def _read_stored(spec: ModelSpec, mark: str, root: Root | None) -> Network:
    """A network that this process has exported, or that a root holds.

    Raises:
        ModelError: there is no root, or it does not hold the network, or the spec gives arguments.
    """
    refuse_arguments(spec, spec.source)
    exported = _EXPORTED.get(mark)
    if exported:
        return exported.network
    if root is None or not stored_networks.is_intact(root, mark):
        again = "call deconvoy.scan with its module again, or scan its code again"
        where = (
            f"{root.url!r} does not hold it, or it is damaged; {again}" if root else "it lies under a root; add --root"
        )
        raise ModelError(f"model {spec.source!r} cannot be read: {where}")
    return Network(stored_networks.read(root, mark))


def refuse_arguments(spec: ModelSpec, source: str) -> None:
    """Raise a ModelError for keys that only a constructor takes, of a network that is given as code or as a graph."""
    given = [f"model.{key}" for key in ("kwargs", "num_classes") if getattr(spec, key)]
    if given:
        raise ModelError(f"{' and '.join(given)}: {source!r} takes no arguments; its graph is fixed, so leave them out")


def whole_preprocessing(spec: ModelSpec, source: str) -> Preprocessing:
    """The preprocessing of a network of the user's own. It has no defaults: a wrong one would silently give wrong pictures.

    Args:
        spec: the preprocessing.
        source: the network's source, for the error.

    Raises:
        ModelError: it is not complete.
    """
    missing = [name for name in ("resize", "crop", "mean", "std", "interpolation") if getattr(spec, name) is None]
    if missing:
        keys, flags = (", ".join(f"{mark}{name}" for name in missing) for mark in ("model.", "--"))
        raise ModelError(f"model {source!r} needs all of its preprocessing; give {keys} too, or {flags}")
    return architectures.override(DEFAULT, spec)


def _stored_preprocessing(spec: ModelSpec, network: Network) -> Preprocessing:
    preprocessing = whole_preprocessing(spec, spec.source)
    channels, height, width = network.nodes[0].shape
    if preprocessing.size != (height, width):
        raise ModelError(
            f"model.crop {architectures.describe(preprocessing.crop)} does not match the input of {spec.source!r}, "
            f"which is {height} x {width}"
        )
    if preprocessing.channels != channels:
        raise ModelError(
            f"model.mean has {_count(preprocessing.channels, 'value')}, but {spec.source!r} takes {_count(channels, 'channel')}"
        )
    return preprocessing


def outline(spec: ModelSpec, root: str | None = None) -> Network:
    """The network that a spec names, for its layers and their geometry. No weights are downloaded.

    Args:
        spec: the spec.
        root: a root that may hold the network.

    Raises:
        ModelError: see `load`.
    """
    mark = families.stored_fingerprint(spec.source)
    if mark is not None:
        return _read_stored(spec, mark, Root(root) if root else None)
    architecture, entry = architectures.resolve(spec)
    if entry.file is not None:
        return load(spec).network
    architectures.outline(architecture)
    return _network(architectures.build(architecture), entry.preprocessing)


@contextmanager
def _silent_export() -> Iterator[None]:
    """Silence torch's log of why a module cannot run on shapes alone; the error says it too."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _network(module: nn.Module, preprocessing: Preprocessing) -> Network:
    try:
        with _silent_export():
            return require_convolution(Network(trace(module, preprocessing.size, preprocessing.channels)))
    except GraphError as error:
        refused = re.search(r"to have (\d+) channels, but got (\d+) channels", str(error))
        if refused is None or int(refused[2]) != preprocessing.channels:
            raise
        channels = _count(int(refused[1]), "channel")
        raise ModelError(
            f"{type(module).__name__} takes images of {channels}, but model.mean has "
            f"{_count(preprocessing.channels, 'value')}; give model.mean and model.std {_count(int(refused[1]), 'value')}"
        ) from error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number > 1 else "")


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
