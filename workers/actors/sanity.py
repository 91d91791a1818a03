"""The worker of the randomisation check. Takes units of one image, writes their projections with random weights."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from workers.actors.environment import Environment
from workers.actors.job import Job, common_configuration
from workers.actors.project import find_disagreements
from workers.actors.shard import ImageUnits, TopUnit
from workers.actors.single import SingleWorker
from workers.core import deconvnet, randomisation
from workers.core.display import display, eight_bit
from workers.core.network import Layer, Network
from workers.core.randomisation import Draw
from workers.core.receptive_field import Box
from workers.core.recording import Units
from workers.core.similarity import Projection, Similarity
from workers.corpus.batch import PreparedImage
from workers.corpus.manifest import Row
from workers.errors import NumericsError
from workers.pictures import encode
from workers.spec.parts import Method, Precision
from workers.spec.sanity import Mode, SanityRun
from workers.store.tables.sanity import CHECKED

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
SANITY_ALGORITHM = 4

CONTROLS = 3  # other channels per unit, as a baseline for the similarities
FORMAT: Literal["webp"] = "webp"

Columns = dict[str, Any]


def sanity_configuration(job: Job[SanityRun], environment: Environment, precision: Precision) -> dict[str, Any]:
    """All that one image's rows depend on, except the image and its units. The scan has no other influence on them.

    `precision` is the scan's precision, which the tolerance for its scores depends on.
    """
    spec = job.spec.sanity
    return {
        "job": "sanity",
        "algorithm": SANITY_ALGORITHM,
        **common_configuration(job, environment),
        "sanity": spec.model_dump(mode="json", include={"stages", "modes", "draws", "seed"}),
        "precision": precision,
        "numpy": version("numpy"),
    }


class SanityWorker(SingleWorker[SanityRun, ImageUnits]):
    """Projects units again with random weights."""

    RESULT = CHECKED

    def __init__(self, job: Job[SanityRun], scanned_in: Precision, tolerances: Mapping[str, float]) -> None:
        super().__init__(job)
        self.scanned_in, self.tolerances = scanned_in, tolerances

    def compute_rows(self, picture: PreparedImage, row: Row, shard: ImageUnits) -> list[Columns]:  # noqa: ARG002 - not needed
        """All rows of the image's units, in the order of the table."""
        spec = self.job.spec.sanity
        image = self.input(picture.prepared[None])
        layers = groupby(shard.units, key=lambda unit: unit.layer_index)
        views = [_LayerUnits(self, picture, image, self.network.layers[index], tuple(units)) for index, units in layers]
        rows = [row for view in views for row in view.trained()]
        for seed in range(spec.seed, spec.seed + spec.draws):
            draw = Draw(self.network, seed)  # one at a time: a draw is as large as the network
            rows += [row for view in views for row in view.random(draw)]
        return sorted(rows, key=_order)


@dataclass(frozen=True)
class _FieldProjection:
    """A projection, cut to the unit's receptive field."""

    projection: Projection
    status: str

    @classmethod
    def of(cls, signal: Tensor, covers: Box, field: Box) -> "_FieldProjection":
        projection = Projection(deconvnet.window(signal.cpu().numpy(), covers, field))
        return cls(projection, "blank" if projection.blank else "ok")

    def picture(self) -> Columns:
        """The columns of its picture."""
        if self.projection.blank:
            return {"projection_scale": 0.0}
        pixels, scale = display(self.projection.signal)
        return {"projection": encode.projection(pixels, FORMAT), "projection_scale": scale}


class _LayerUnits:
    """Some units of one layer in one image."""

    def __init__(
        self, worker: SanityWorker, picture: PreparedImage, image: Tensor, layer: Layer, units: Sequence[TopUnit]
    ) -> None:
        self.spec = worker.job.spec.sanity
        self.network, self.picture, self.image, self.layer, self.top = worker.network, picture, image, layer, units
        self.number = layer.node
        self.boxes = [layer.fields.of(unit.channel).box(unit.y, unit.x).cut(*image.shape[2:]) for unit in units]
        self.stages = randomisation.stages(self.network, self.number, self.spec.stages)
        channels, rows, columns = ([getattr(unit, name) for unit in units] for name in ("channel", "y", "x"))
        self.units = self._units(channels, rows, columns)
        activations = self._activations(rows, columns)
        self.values = activations[torch.arange(len(units), device=image.device), self.units.channel]
        self._check(worker, activations.abs().amax(dim=1).cpu().numpy())
        pairs = zip(units, activations, strict=True)
        self.others = [_choose_others(unit.channel, values.tolist()) for unit, values in pairs]
        self.truth = self._projections(self.network, self.number, self.units, self.values, range(len(units)))

    def trained(self) -> Iterator[Columns]:
        """Projections by the trained network: each unit's, compared with the one from before its rectifier; other channels'."""
        start = randomisation.before_rectifier(self.network, self.number)
        from_start = self._projections(self.network, start, self.units, self.values, range(len(self.top)))
        for method, projections in self.truth.items():
            for n, projection in enumerate(projections):
                row = self._row(n, method, from_start[method][n], mode="trained", stage=0)
                yield row | projection.picture() | {"patch": self._patch(self.boxes[n])}
        yield from self._controls()

    def _controls(self) -> Iterator[Columns]:
        """Projections of other channels at the units' locations, by the trained network."""
        owners = [n for n, others in enumerate(self.others) for _ in others]
        if not owners:
            return
        channels = [channel for others in self.others for channel in others]
        units = self._units(channels, *([getattr(self.top[n], name) for n in owners] for name in ("y", "x")))
        values = torch.ones(len(owners), device=self.image.device)
        for method, projections in self._projections(self.network, self.number, units, values, owners).items():
            for n, channel, projection in zip(owners, channels, projections, strict=True):
                yield self._row(n, method, projection, mode="other_channel", stage=0, other=channel)

    def random(self, draw: Draw) -> Iterator[Columns]:
        """Each unit's projections by partly random networks, stage by stage."""
        start = randomisation.before_rectifier(self.network, self.number)
        for number, stage in enumerate(self.stages, 1):
            cascade = {node for upper in self.stages[:number] for node in upper.nodes}
            nodes = {Mode.CASCADING: frozenset(cascade), Mode.INDEPENDENT: frozenset(stage.nodes)}
            networks = {nodes[mode]: draw.randomise(nodes[mode]) for mode in self.spec.modes}  # only one in stage 1
            by_nodes = {
                random_nodes: self._projections(network, start, self.units, self.values, range(len(self.top)))
                for random_nodes, network in networks.items()
            }
            for mode in self.spec.modes:
                shown = mode == min(self.spec.modes) and draw.seed == self.spec.seed  # cascading, if requested
                key = {"mode": str(mode), "stage": number, "stage_node": stage.name, "seed": draw.seed}
                for method, projections in by_nodes[nodes[mode]].items():
                    for n, projection in enumerate(projections):
                        yield self._row(n, method, projection, **key) | (projection.picture() if shown else {})

    def _units(self, channels: Sequence[int], rows: Sequence[int], columns: Sequence[int]) -> Units:
        indices = ([0] * len(channels), channels, rows, columns)
        return Units(*(torch.tensor(index, dtype=torch.int64, device=self.image.device) for index in indices))

    def _activations(self, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        """Activations of all channels at the units' locations, (units, channels)."""
        count = self.layer.channels
        units = self._units(
            list(range(count)) * len(rows),
            [y for y in rows for _ in range(count)],
            [x for x in columns for _ in range(count)],
        )
        tape = randomisation.record(self.network, self.image, {self.number: units})
        return tape.values[self.number].view(len(rows), count)

    def _projections(
        self, network: Network, number: int, units: Units, values: Tensor, owners: Sequence[int]
    ) -> Mapping[Method, list[_FieldProjection]]:
        """Projections by each method, cut to the receptive fields of the units with the numbers `owners`."""
        tape = randomisation.record(network, self.image, {number: units})
        return {
            method: [
                _FieldProjection.of(signal, box, self.boxes[n])
                for n, (signal, box) in zip(
                    owners, randomisation.projections(tape, method, number, units, values), strict=True
                )
            ]
            for method in Method
        }

    def _check(self, worker: SanityWorker, largest: np.ndarray[Any, Any]) -> None:
        """Require each unit's activation to equal the score that the scan stored, within the tolerance.

        `largest` is the magnitude of the largest activation at each unit's location.
        """
        scores, values = np.array([unit.score for unit in self.top]), self.values.cpu().numpy()
        tolerance = worker.tolerances.get(self.layer.name, 0.0)
        wrong = find_disagreements(scores, values, largest, worker.scanned_in, tolerance)
        for unit, value, is_wrong in zip(self.top, self.values.tolist(), wrong.tolist(), strict=True):
            if is_wrong:
                raise NumericsError(
                    f"layer {self.layer.name!r}, channel {unit.channel}: the scan scored {unit.score} in image "
                    f"{self.picture.record.image_index}, but the network now gives {value}; has the image changed?"
                )

    def _patch(self, box: Box) -> bytes:
        return encode.patch(eight_bit(self.picture.prepared[:, box.top : box.bottom, box.left : box.right]), FORMAT)

    def _row(self, n: int, method: Method, projection: _FieldProjection, **more: Any) -> Columns:  # noqa: ANN401 - columns
        """A row without its pictures."""
        unit, similarity = self.top[n], self.truth[method][n].projection.similarity_to(projection.projection)
        if projection.status == "blank":
            similarity = Similarity(None, None, None)
        key = {name: getattr(unit, name) for name in ("channel", "rank", "score", "y", "x")}
        return {
            "image_index": self.picture.record.image_index,
            "layer": self.layer.name,
            "layer_index": self.layer.index,
            **key,
            **vars(similarity),
            "method": str(method),
            "status": projection.status,
            **dict.fromkeys(("seed", "stage_node", "other", "projection", "patch", "projection_scale")),
            **more,
        }


def _choose_others(channel: int, activations: Sequence[float]) -> list[int]:
    """Other channels that are active at a unit's location, chosen by their hashes."""
    awake = [other for other, value in enumerate(activations) if value > 0 and other != channel]
    first = sorted(awake, key=lambda other: hashlib.sha256(f"{channel} {other}".encode()).digest())
    return sorted(first[:CONTROLS])


def _order(row: Columns) -> tuple[Any, ...]:
    absent = -1
    names = ("layer_index", "channel", "rank", "method", "mode", "seed", "stage", "other")
    return tuple(absent if row[name] is None else row[name] for name in names)
