"""The checkpoints of a training. Takes a spec's files and globs, gives stored networks and the layers that changed in each."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from workers import files
from workers.core.network import Layer
from workers.core.nodes import Node
from workers.errors import DivergedError, MisfitError, ModelError, SpecError
from workers.models import model as models
from workers.models import stored as stored_weights
from workers.models.model import Model, StoredModel
from workers.spec import families
from workers.spec.evolve import EvolutionRun, checkpoint_name
from workers.spec.parts import ModelSpec
from workers.store.root import Root

LEAST = 2  # checkpoints needed to see a change


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint.

    Attributes:
        number: its number among the checkpoints that have not diverged, from 0.
        name: its file's name without the extension.
        stored: the network.
        source: for each selected layer, the number of the first checkpoint with the same feature maps: this one, or an earlier
            one if neither the layer nor anything below it has changed since.
        weight_bytes: size of the weights.
    """

    number: int
    name: str
    stored: StoredModel
    source: tuple[int, ...]
    weight_bytes: int

    def new_layers(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers whose feature maps differ from those of all earlier checkpoints."""
        return tuple(layer for layer, source in zip(layers, self.source, strict=True) if source == self.number)


def resolve(spec: EvolutionRun) -> EvolutionRun:
    """The spec with the names of all checkpoint files, and with the weights of the last one as its model.

    Raises:
        SpecError: a glob matches nothing, a file is named twice, there are too few files, or the model has weights of its own.
    """
    if families.WEIGHTS in spec.model.source:
        raise SpecError(
            [
                f"model.source: {spec.model.source!r} names weights; remove them, because evolve.checkpoints names "
                "the weights"
            ]
        )
    if families.stored_fingerprint(spec.model.source) is not None:
        raise SpecError(
            [
                f"model.source: {spec.model.source!r} already contains its weights, so it cannot load a checkpoint's; "
                "evolve needs a network by name, such as deconvoy://zfnet-mini or torchvision://resnet18"
            ]
        )
    checkpoints = expand(spec.evolve.checkpoints)
    evolve = spec.evolve.model_copy(update={"checkpoints": checkpoints})
    return spec.model_copy(update={"evolve": evolve, "model": _with(spec.model, checkpoints[-1])})


def expand(patterns: Sequence[str]) -> tuple[str, ...]:
    """The files that names and globs match; those of a glob are ordered by the numbers in their names.

    Raises:
        SpecError: see `resolve`.
    """
    matches = [file for pattern in patterns for file in files.matching(pattern, "evolve.checkpoints")]
    twice = [file for file in matches if matches.count(file) > 1]
    if twice:
        raise SpecError([f"evolve.checkpoints: {twice[0]!r} is named twice"])
    if len(matches) < LEAST:
        raise SpecError(
            [f"evolve.checkpoints: {' '.join(patterns)!r} matches only one file; at least {LEAST} are needed"]
        )
    return tuple(matches)


def use_last_finite(spec: EvolutionRun) -> EvolutionRun:
    """The spec with the last checkpoint that has not diverged as its model. Trainings usually diverge at the end.

    Args:
        spec: the result of `resolve`.

    Raises:
        ModelError: the weights of a checkpoint cannot be read, do not fit, or all of them have diverged.
    """
    for file in reversed(spec.evolve.checkpoints[1:]):
        with suppress(DivergedError):
            _load(spec, file)
            return spec.model_copy(update={"model": _with(spec.model, file)})
    raise DivergedError(
        f"evolve.checkpoints: every file after the first has diverged; at least {LEAST} usable checkpoints are needed"
    )


def load(spec: EvolutionRun, last: Model, say: Callable[[str], None] = lambda _: None) -> tuple[Checkpoint, ...]:
    """Load each checkpoint that has not diverged, and find its new layers; writes nothing.

    Args:
        spec: the result of `use_last_finite`.
        last: the last checkpoint that has not diverged.
        say: receives a message for each checkpoint that is left out.

    Raises:
        ModelError: the weights of a checkpoint cannot be read, or do not fit the network.
        SpecError: too many have diverged.
    """
    layers = last.network.select(spec.scan.layers)
    first_with: dict[tuple[int, str], int] = {}
    checkpoints: list[Checkpoint] = []
    for file in spec.evolve.checkpoints:
        try:
            model = last if file == _file(last.stored) else model_of(spec, file, last, layers)
        except DivergedError as error:
            say(f"checkpoint {checkpoint_name(file)!r} is left out: {error}")
            continue
        number = len(checkpoints)
        fingerprints = models.layer_fingerprints(model.network)
        source = tuple(first_with.setdefault((layer.index, fingerprints[layer.index]), number) for layer in layers)
        weight_bytes = model.network.weight_bytes
        checkpoints.append(Checkpoint(number, checkpoint_name(file), model.stored, source, weight_bytes))
    if len(checkpoints) < LEAST:
        raise SpecError(
            [
                f"evolve.checkpoints: all but {checkpoints[0].name!r} have diverged; at least {LEAST} usable ones are needed"
            ]
        )
    return tuple(checkpoints)


def store(spec: EvolutionRun, checkpoints: Sequence[Checkpoint], last: Model, root: Root) -> None:
    """Write weights that are missing or damaged under the root. They are loaded again, one at a time, to save memory."""
    layers = last.network.select(spec.scan.layers)
    for checkpoint in checkpoints[:-1]:
        if not stored_weights.is_intact(root, checkpoint.stored.fingerprint):
            models.store(model_of(spec, _file(checkpoint.stored), last, layers), root)


def model_of(spec: EvolutionRun, file: str, last: Model, layers: Sequence[Layer]) -> Model:
    """The network of a checkpoint. Above the scanned layers, it may differ from the last one, as a new classifier does.

    Raises:
        ModelError: its weights do not fit, or its graph up to the highest of the layers differs from the last checkpoint's.
    """
    model = _load(spec, file)
    nodes, others = model.network.nodes, last.network.nodes
    for number in range(max(layer.node for layer in layers) + 1):
        node, other = (every[number] if number < len(every) else None for every in (nodes, others))
        if node is None or other is None or (node.name, node.shape) != (other.name, other.shape):
            lower = [layer.name for layer in (*last.network.layers, *layers) if layer.node < number]
            way_out = (
                f"scan only layers below it, such as --layers {lower[-1]}" if lower else "evolve needs one network"
            )
            raise ModelError(
                f"checkpoint {file!r} has {_describe(node)}, but {_file(last.stored)!r} has {_describe(other)}; "
                f"checkpoints may differ only above the scanned layers: {way_out}"
            )
    return model


def _load(spec: EvolutionRun, file: str) -> Model:
    """The network with the weights of a file, by its own number of classes unless the spec gives one."""
    try:
        return models.load(_with(spec.model, file))
    except DivergedError:
        raise
    except ModelError as error:
        shared = [f"model.{key}" for key in ("num_classes", "classes", "kwargs") if getattr(spec.model, key)]
        is_hinted = bool(shared) and isinstance(error, MisfitError)
        way_out = f"; {' and '.join(shared)} must fit every checkpoint, or be left out" if is_hinted else ""
        raise ModelError(f"checkpoint {file!r}: {error}{way_out}") from error


def _describe(node: Node | None) -> str:
    if node is None:
        return "no further layer"
    return f"layer {node.name!r}" + (f" of shape {' x '.join(map(str, node.shape))}" if node.is_map else "")


def _file(stored: StoredModel) -> str:
    return str(families.weights_file(stored.source))


def _with(model: ModelSpec, file: str) -> ModelSpec:
    return model.model_copy(update={"source": families.with_weights(model.source, file)})
