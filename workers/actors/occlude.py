"""Occlusion maps beside a device. Takes one image, writes its maps and panels; keeps nothing between images."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from workers.actors.job import Job
from workers.actors.shard import Shard
from workers.actors.single import SingleWorker
from workers.core import deconvnet
from workers.core.deconvnet import Units
from workers.core.display import display, eight_bit
from workers.core.occlusion import Occluded, Squares, occlude
from workers.corpus.manifest import Row
from workers.corpus.reader import Picture
from workers.errors import NumericsError, UnknownClassError
from workers.pictures import encode, panels
from workers.pictures.panels import Grid
from workers.spec.occlude import OcclusionRun
from workers.spec.parts import Fill, Method
from workers.store import rows
from workers.store.tables.occlude import OCCLUDED

BESIDE = 8  # projections of another run


@dataclass(frozen=True)
class Beside:
    """A published scan whose projections stand beside this image's: its parts of `patches`, and their joint hash."""

    parts: tuple[str, ...]
    digest: str


class OccludeWorker(SingleWorker[OcclusionRun, Shard]):
    """Occludes images."""

    RESULT = OCCLUDED

    def __init__(self, job: Job[OcclusionRun], beside: Beside | None) -> None:
        super().__init__(job)
        self.beside = beside
        [self.layer] = self.layers

    def found(self, picture: Picture, row: Row, shard: Shard) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - needs no more
        """The image's one row of `occlusions`."""
        spec, number = self.job.spec.occlude, self.layer.node
        image = self.input(picture.prepared[None])
        filled = filling(picture.prepared, spec.fill, spec.size)
        fill = self.input(filled[None])[0]
        names = self.job.model.class_names
        target = target_of(spec.target, row.label, names, self.network.nodes[-1].shape[0])
        squares = Squares(spec.size, spec.stride, *image.shape[2:])
        found = occlude(self.network, image, number, squares, fill, target)
        if not bool(torch.isfinite(found.probability).all() and torch.isfinite(found.activation).all()):
            raise NumericsError(
                f"image {picture.record.image_index}: the network gives NaN or infinity; try other weights"
            )
        view = _View(self, found, squares, names)
        yield {
            "image_index": picture.record.image_index,
            **view.numbers("predicted" if target is None else spec.target),
            **view.panels(picture.prepared, filled, image),
            "size": spec.size,
            "stride": spec.stride,
            "fill": str(spec.fill),
            "original": encode.patch(eight_bit(picture.prepared), "webp"),
        }

    def projection(self, image: Tensor, channel: int) -> np.ndarray[Any, Any]:
        """The display of the channel's strongest unit's projection on the whole input (side, side, 3)."""
        number = self.layer.node
        maps: list[Tensor] = []
        with torch.inference_mode():
            self.network.forward(image, [number], lambda _, __, map_: maps.append(map_[0, channel]))
        y, x = divmod(int(maps[0].argmax()), maps[0].shape[1])
        units = Units(*(torch.tensor([each], device=image.device) for each in (0, channel, y, x)))
        tape = deconvnet.record(self.network, image, {number: units}, Method.DECONVNET)
        signals, [box] = deconvnet.project(tape, number, units, tape.values[number])
        whole = np.zeros(tuple(image.shape[1:]), np.float32)
        cut = box.cut(*image.shape[2:])
        part = (
            signals[0]
            .cpu()
            .numpy()[:, cut.top - box.top : cut.bottom - box.top, cut.left - box.left : cut.right - box.left]
        )
        whole[:, cut.top : cut.bottom, cut.left : cut.right] = part
        return display(whole)[0]

    def others(self, channel: int) -> list[np.ndarray[Any, Any]]:
        """Displays of the other run's projections for a channel, best first."""
        wanted = [("layer", "==", self.layer.name), ("channel", "==", channel)]
        parts = self.beside.parts if self.beside else ()
        found = [
            row for part in parts
            for row in rows.read_table(self.root, part, ["rank", "projection"], wanted).to_pylist()
            if row["projection"]
        ]  # fmt: skip
        ranked = sorted(found, key=lambda row: int(row["rank"]))[:BESIDE]
        return [_pixels(row["projection"]["bytes"]) for row in ranked]


@dataclass(frozen=True)
class _View:
    """One image's maps as columns of the table."""

    worker: OccludeWorker
    found: Occluded
    squares: Squares
    names: tuple[str, ...]

    def numbers(self, target: str) -> dict[str, Any]:
        """Everything but the panels."""
        found, layer, predicted = self.found, self.worker.layer, int(self.found.probabilities.argmax())
        return {
            "layer": layer.name,
            "layer_index": layer.index,
            "channel": found.channel,
            "activation": found.total,
            "class_index": found.target,
            "class_name": self._name(found.target),
            "target": target,
            "probability": float(found.probabilities[found.target]),
            "predicted_index": predicted,
            "predicted_name": self._name(predicted),
            "rows": self.squares.rows,
            "cols": self.squares.columns,
            "activation_map": found.activation.float().flatten().tolist(),
            "probability_map": found.probability.flatten().tolist(),
            "class_map": found.best.flatten().tolist(),
            "classes": [{"class_index": index, "class_name": self._name(index)} for index in self._commonest()],
        }

    def panels(self, prepared: Tensor, filled: Tensor, image: Tensor) -> dict[str, bytes]:
        """The five pictures."""
        found, squares, layer = self.found, self.squares, self.worker.layer.name
        grid = Grid(squares.height, squares.size, squares.stride, squares.rows, squares.columns)
        pixels, covered = eight_bit(prepared), eight_bit(filled)
        about, channel = f"{layer}, channel {found.channel}", found.channel
        names = [(index, self._name(index) or f"class {index}") for index in self._commonest()]
        followed = self._name(found.target) or f"class {found.target}"
        others = self.worker.others(channel)
        probability = found.probability.cpu().numpy()
        return {
            "panel_image": panels.image_panel(pixels, covered, grid),
            "panel_activation": panels.map_panel(
                found.activation.cpu().numpy(), grid, f"total activation of {about}", "sum of the feature map"
            ),
            "panel_projection": panels.projection_panel(
                self.worker.projection(image, channel),
                others,
                f"projection of {about}" + (", beside its top images'" if others else ""),
            ),
            "panel_probability": panels.map_panel(probability, grid, f"probability of {followed}", "probability"),
            "panel_class": panels.class_panel(found.best.cpu().numpy(), names, grid, "most probable class"),
        }

    def _name(self, index: int) -> str | None:
        return self.names[index] if index < len(self.names) else None

    def _commonest(self) -> list[int]:
        counts = Counter(self.found.best.flatten().tolist())
        return sorted(counts, key=lambda index: (-counts[index], index))


def target_of(asked: str, label: str | None, names: Sequence[str], outputs: int) -> int | None:
    """The class to follow; None for the predicted one, which also stands for a label that is no class.

    Raises:
        UnknownClassError: a name or number is asked for that the model does not have.
    """
    if asked in ("label", "predicted"):
        return names.index(label) if asked == "label" and label in names else None
    if asked in names:
        return names.index(asked)
    if asked.isdecimal() and int(asked) < outputs:
        return int(asked)
    raise UnknownClassError(asked, outputs, names)


def filling(prepared: Tensor, fill: Fill, size: int) -> Tensor:
    """What the square shows: float32 (3, side, side) in 0 to 255; grey is 127.5."""
    pixels = prepared.float()
    if fill is Fill.GREY:
        return torch.full_like(pixels, 127.5)
    if fill is Fill.MEAN:
        return pixels.mean(dim=(1, 2), keepdim=True).expand_as(pixels)
    kernel = size // 2 * 2 + 1
    return torch.as_tensor(functional.gaussian_blur(pixels, [kernel, kernel], [size / 4, size / 4]))


def _pixels(encoded: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(encoded), formats=("WEBP", "PNG")) as opened:
        return np.array(opened.convert("RGB"))
