"""The randomisation check beside a device. Takes units of one image, writes what random weights make of their projections."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from workers.actors.job import Job
from workers.actors.project import disagreeing
from workers.actors.shard import ImageUnits, TopUnit
from workers.actors.single import SingleWorker
from workers.core import randomisation
from workers.core.deconvnet import Units
from workers.core.display import display
from workers.core.network import Layer, Network
from workers.core.randomisation import Draw
from workers.core.receptive_field import Box
from workers.core.similarity import Likeness, Projected
from workers.corpus.manifest import Row
from workers.corpus.reader import Picture
from workers.errors import NumericsError
from workers.pictures import encode
from workers.spec.parts import Method, Precision
from workers.spec.sanity import Mode, SanityRun
from workers.store.tables.sanity import CHECKED

CONTROLS = 3  # other channels per unit: what the similarities are read against
FORM: Literal["webp"] = "webp"

Found = dict[str, Any]


class SanityWorker(SingleWorker[SanityRun, ImageUnits]):
    """Projects units again with random weights."""

    RESULT = CHECKED

    def __init__(self, job: Job[SanityRun], scanned_in: Precision) -> None:
        super().__init__(job)
        self.scanned_in = scanned_in

    def found(self, picture: Picture, row: Row, shard: ImageUnits) -> list[Found]:  # noqa: ARG002 - needs no more
        """All rows of the image's units, sorted as the table is."""
        spec = self.job.spec.sanity
        image = self.input(picture.prepared[None])
        layers = groupby(shard.units, key=lambda unit: unit.layer_index)
        views = [_LayerUnits(self, picture, image, self.network.layers[index], tuple(units)) for index, units in layers]
        rows = [row for view in views for row in view.trained()]
        for seed in range(spec.seed, spec.seed + spec.draws):
            draw = Draw(self.network, seed)  # one at a time: it holds as many numbers as the network
            rows += [row for view in views for row in view.random(draw)]
        return sorted(rows, key=_order)


@dataclass(frozen=True)
class _Seen:
    """A projection on the part of the input that the unit can see."""

    projected: Projected
    status: str

    @classmethod
    def of(cls, signal: Tensor, covers: Box, seen: Box) -> "_Seen":
        top, left = seen.top - covers.top, seen.left - covers.left
        cut = signal[:, top : top + seen.height, left : left + seen.width].cpu().numpy()
        projected = Projected(np.ascontiguousarray(cut))
        return cls(projected, "blank" if projected.blank else "ok")

    def picture(self) -> Found:
        """Its columns as a picture."""
        if self.projected.blank:
            return {"projection_scale": 0.0}
        pixels, scale = display(self.projected.signal)
        return {"projection": encode.projection(pixels, FORM), "projection_scale": scale}


class _LayerUnits:
    """Some units of one layer in one image."""

    def __init__(
        self, worker: SanityWorker, picture: Picture, image: Tensor, layer: Layer, units: Sequence[TopUnit]
    ) -> None:
        self.spec = worker.job.spec.sanity
        self.network, self.picture, self.image, self.layer, self.top = worker.network, picture, image, layer, units
        self.number = layer.node
        self.boxes = [layer.field.box(unit.y, unit.x).cut(*image.shape[2:]) for unit in units]
        self.stages = randomisation.stages(self.network, self.number, self.spec.stages)
        channels, rows, columns = ([getattr(unit, name) for unit in units] for name in ("channel", "y", "x"))
        self.units = self._units(channels, rows, columns)
        awake = self._awake(rows, columns)
        self.values = awake[torch.arange(len(units), device=image.device), self.units.channel]
        self._check(worker.scanned_in, awake.abs().amax(dim=1).cpu().numpy())
        self.others = [_others(unit.channel, values.tolist()) for unit, values in zip(units, awake, strict=True)]
        self.truth = self._projections(self.network, self.number, self.units, self.values, range(len(units)))

    def trained(self) -> Iterator[Found]:
        """Each unit's projection by the trained network, with the same on the road of the random ones; then other channels'."""
        start = randomisation.before_rectifier(self.network, self.number)
        again = self._projections(self.network, start, self.units, self.values, range(len(self.top)))
        for method, every in self.truth.items():
            for n, seen in enumerate(every):
                row = self._row(n, method, again[method][n], mode="trained", stage=0)
                yield row | seen.picture() | {"patch": self._patch(self.boxes[n])}
        owners = [n for n, others in enumerate(self.others) for _ in others]
        if not owners:
            return
        channels = [channel for others in self.others for channel in others]
        units = self._units(channels, *([getattr(self.top[n], name) for n in owners] for name in ("y", "x")))
        values = torch.ones(len(owners), device=self.image.device)
        for method, every in self._projections(self.network, self.number, units, values, owners).items():
            for n, channel, seen in zip(owners, channels, every, strict=True):
                yield self._row(n, method, seen, mode="other_channel", stage=0, other=channel)

    def random(self, draw: Draw) -> Iterator[Found]:
        """Each unit's projections by networks that are random in part, stage by stage."""
        start = randomisation.before_rectifier(self.network, self.number)
        for stage, of_stage in enumerate(self.stages, 1):
            through = {number for each in self.stages[:stage] for number in each.nodes}
            numbers = {Mode.CASCADING: frozenset(through), Mode.INDEPENDENT: frozenset(of_stage.nodes)}
            networks = {numbers[mode]: draw.randomised(numbers[mode]) for mode in self.spec.modes}  # one for stage 1
            found = {
                which: self._projections(network, start, self.units, self.values, range(len(self.top)))
                for which, network in networks.items()
            }
            for mode in self.spec.modes:
                shown = mode == min(self.spec.modes) and draw.seed == self.spec.seed  # cascading, if asked for
                about = {"mode": str(mode), "stage": stage, "stage_node": of_stage.name, "seed": draw.seed}
                for method, every in found[numbers[mode]].items():
                    for n, seen in enumerate(every):
                        yield self._row(n, method, seen, **about) | (seen.picture() if shown else {})

    def _units(self, channels: Sequence[int], rows: Sequence[int], columns: Sequence[int]) -> Units:
        columns_ = ([0] * len(channels), channels, rows, columns)
        return Units(*(torch.tensor(each, dtype=torch.int64, device=self.image.device) for each in columns_))

    def _awake(self, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        """Activations of all channels at the units' locations, (units, channels)."""
        count = self.layer.channels
        every = self._units(
            list(range(count)) * len(rows),
            [y for y in rows for _ in range(count)],
            [x for x in columns for _ in range(count)],
        )
        tape = randomisation.record(self.network, self.image, {self.number: every})
        return tape.values[self.number].view(len(rows), count)

    def _projections(
        self, network: Network, number: int, units: Units, values: Tensor, owners: Sequence[int]
    ) -> Mapping[Method, list[_Seen]]:
        """Projections by each method, on what the units of these numbers can see."""
        tape = randomisation.record(network, self.image, {number: units})
        return {
            method: [
                _Seen.of(signal, box, self.boxes[n])
                for n, (signal, box) in zip(
                    owners, randomisation.projections(tape, method, number, units, values), strict=True
                )
            ]
            for method in Method
        }

    def _check(self, precision: Precision, largest: np.ndarray[Any, Any]) -> None:
        """The unit must be the one that the scan means: its activation is the score that was stored.

        `largest` is the magnitude of the largest activation at each unit's location.
        """
        wrong = disagreeing(np.array([unit.score for unit in self.top]), self.values.cpu().numpy(), largest, precision)
        for unit, value, is_wrong in zip(self.top, self.values.tolist(), wrong.tolist(), strict=True):
            if is_wrong:
                raise NumericsError(
                    f"layer {self.layer.name!r}, channel {unit.channel}: the scan scored {unit.score} in image "
                    f"{self.picture.record.image_index}, the network now gives {value}; has the image changed?"
                )

    def _patch(self, box: Box) -> bytes:
        pixels = self.picture.prepared[:, box.top : box.bottom, box.left : box.right].permute(1, 2, 0)
        return encode.patch(pixels.contiguous().numpy(), FORM)

    def _row(self, n: int, method: Method, seen: _Seen, **about: Any) -> Found:  # noqa: ANN401 - columns
        """A row without its pictures."""
        unit, same = self.top[n], self.truth[method][n].projected.likeness(seen.projected)
        if seen.status == "blank":
            same = Likeness(None, None, None)
        key = {name: getattr(unit, name) for name in ("channel", "rank", "score", "y", "x")}
        return {
            "image_index": self.picture.record.image_index,
            "layer": self.layer.name,
            "layer_index": self.layer.index,
            **key,
            **vars(same),
            "method": str(method),
            "status": seen.status,
            **dict.fromkeys(("seed", "stage_node", "other", "projection", "patch", "projection_scale")),
            **about,
        }


def _others(channel: int, activations: Sequence[float]) -> list[int]:
    """Some other channels that are awake at a unit's location: those with the smallest hashes."""
    awake = [other for other, value in enumerate(activations) if value > 0 and other != channel]
    first = sorted(awake, key=lambda other: hashlib.sha256(f"{channel} {other}".encode()).digest())
    return sorted(first[:CONTROLS])


def _order(row: Found) -> tuple[Any, ...]:
    absent = -1
    names = ("layer_index", "channel", "rank", "method", "mode", "seed", "stage", "other")
    return tuple(absent if row[name] is None else row[name] for name in names)
