"""The checkpoints of a training. Takes a spec's files and globs, gives stored networks and the layers that are new in each."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from workers import files
from workers.core.network import Layer
from workers.errors import DivergedError, ModelError, SpecError
from workers.models import model as models
from workers.models import stored as stored_weights
from workers.models.model import Model, StoredModel
from workers.spec import families
from workers.spec.evolve import EvolutionRun, checkpoint_name
from workers.spec.parts import ModelSpec
from workers.store.root import Root

LEAST = 2  # checkpoints that show a change


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint.

    Attributes:
        number: its place among the checkpoints that have not diverged, from 0.
        name: its file's name without the ending.
        stored: the network.
        source: for each layer looked at, the number of the first checkpoint that gives the same feature maps: itself, or an
            earlier one where neither the layer nor anything below it has changed since.
        weight_bytes: size of the network's numbers.
    """

    number: int
    name: str
    stored: StoredModel
    source: tuple[int, ...]
    weight_bytes: int

    def fresh(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers that no earlier checkpoint has like this."""
        return tuple(layer for layer, source in zip(layers, self.source, strict=True) if source == self.number)


def resolved(spec: EvolutionRun) -> EvolutionRun:
    """The spec with every checkpoint's file by its name, and the last one's weights as its model.

    Raises:
        SpecError: a glob matches nothing, a file is named twice, there are too few, or the model names weights.
    """
    if families.WEIGHTS in spec.model.source:
        raise SpecError([f"model.source: {spec.model.source!r} names weights; evolve.checkpoints give them"])
    checkpoints = expanded(spec.evolve.checkpoints)
    evolve = spec.evolve.model_copy(update={"checkpoints": checkpoints})
    return spec.model_copy(update={"evolve": evolve, "model": _with(spec.model, checkpoints[-1])})


def expanded(patterns: Sequence[str]) -> tuple[str, ...]:
    """The files that names and globs stand for, those of a glob by the numbers in their names.

    Raises:
        SpecError: see `resolved`.
    """
    named = [file for pattern in patterns for file in files.matching(pattern, "evolve.checkpoints")]
    twice = [file for file in named if named.count(file) > 1]
    if twice:
        raise SpecError([f"evolve.checkpoints: {twice[0]!r} is named twice"])
    if len(named) < LEAST:
        raise SpecError([f"evolve.checkpoints: {' '.join(patterns)!r} is one file; a change needs {LEAST} at least"])
    return tuple(named)


def ending_soundly(spec: EvolutionRun) -> EvolutionRun:
    """The spec with the last checkpoint that has not diverged as its model: a training that diverges does so at its end.

    Args:
        spec: as `resolved` gives it.

    Raises:
        ModelError: the weights of a checkpoint cannot be read, do not fit, or all of them have diverged.
    """
    for file in reversed(spec.evolve.checkpoints[1:]):
        model = _with(spec.model, file)
        with suppress(DivergedError):
            models.load(model)
            return spec.model_copy(update={"model": model})
    raise DivergedError(
        f"evolve.checkpoints: every file after the first has diverged; a change needs {LEAST} that have not"
    )


def load(spec: EvolutionRun, last: Model, say: Callable[[str], None] = lambda _: None) -> tuple[Checkpoint, ...]:
    """Load each checkpoint that has not diverged, and see what in it is new; writes nothing.

    Args:
        spec: as `ending_soundly` gives it.
        last: the last checkpoint that has not diverged.
        say: is given a line for each that is left out.

    Raises:
        ModelError: the weights of a checkpoint cannot be read, or do not fit the network.
        SpecError: too few have not diverged.
    """
    layers = last.network.select(spec.scan.layers)
    seen: dict[tuple[int, str], int] = {}
    found: list[Checkpoint] = []
    for file in spec.evolve.checkpoints:
        try:
            model = last if file == _file(last.stored) else model_of(spec, file, last)
        except DivergedError as error:
            say(f"checkpoint {checkpoint_name(file)!r} is left out: {error}")
            continue
        number = len(found)
        marks = models.layer_fingerprints(model.network)
        source = tuple(seen.setdefault((layer.index, marks[layer.index]), number) for layer in layers)
        weight_bytes = sum(tensor.nbytes for tensor in model.state.values())
        found.append(Checkpoint(number, checkpoint_name(file), model.stored, source, weight_bytes))
    if len(found) < LEAST:
        raise SpecError(
            [f"evolve.checkpoints: all but {found[0].name!r} have diverged; a change needs {LEAST} that have not"]
        )
    return tuple(found)


def store(spec: EvolutionRun, every: Sequence[Checkpoint], last: Model, root: Root) -> None:
    """Write the weights that are not under the root yet, or damaged; they are read again for it, so that few are held at once."""
    for each in every[:-1]:
        if not stored_weights.is_intact(root, each.stored.fingerprint):
            models.store(model_of(spec, _file(each.stored), last), root)


def model_of(spec: EvolutionRun, file: str, last: Model) -> Model:
    """The network of a checkpoint.

    Raises:
        ModelError: its weights do not fit, or it has another graph or other outputs than the last one.
    """
    model = models.load(_with(spec.model, file))
    shapes = [[node.shape for node in each.network.nodes] for each in (model, last)]
    if shapes[0] != shapes[1]:
        raise ModelError(f"checkpoint {file!r} gives another network than {_file(last.stored)!r}")
    return model


def _file(stored: StoredModel) -> str:
    return str(families.weights_file(stored.source))


def _with(model: ModelSpec, file: str) -> ModelSpec:
    return model.model_copy(update={"source": families.with_weights(model.source, file)})
