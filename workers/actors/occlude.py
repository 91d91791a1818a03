"""The occlusion worker. Takes one image, writes its occlusion maps and panels; keeps no state."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workers.actors.environment import Environment
from workers.actors.job import Job, common_configuration, target_label
from workers.actors.shard import Shard
from workers.actors.single import SingleWorker
from workers.core import deconvnet, recording
from workers.core.display import display, eight_bit
from workers.core.occlusion import OcclusionMaps, Squares, occlude
from workers.core.receptive_field import Box
from workers.core.recording import Channels
from workers.corpus.batch import PreparedImage
from workers.corpus.manifest import Row
from workers.errors import NumericsError, UnknownClassError
from workers.pictures import encode, panels
from workers.pictures.panels import Grid
from workers.spec.occlude import OcclusionRun
from workers.spec.parts import Fill, Method
from workers.store import rows
from workers.store.tables.occlude import OCCLUDED

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
OCCLUDE_ALGORITHM = 3

SCAN_PROJECTIONS = 8  # projections of the scan per panel


def occlude_configuration(
    job: Job[OcclusionRun], environment: Environment, scan_digest: str | None, label: str | None
) -> dict[str, Any]:
    """All that one image's occlusion maps depend on, except the image.

    `scan_digest` is the hash of the scan whose projections are shown as well; `label` is the image's label.
    """
    return {
        "job": "occlude",
        "algorithm": OCCLUDE_ALGORITHM,
        **common_configuration(job, environment),
        "layers": job.layers,
        "occlude": job.spec.occlude.model_dump(mode="json", exclude={"images", "sample", "from_run"}),
        "class_names": job.model.class_names,
        "label": target_label(job, job.spec.occlude.target, label),
        "beside": scan_digest,
        "panels": version("matplotlib"),
    }


@dataclass(frozen=True)
class ScanPatches:
    """The projections of a published scan, which are shown with the image's own.

    Attributes:
        parts: paths of the parts of the scan's table `patches`.
        digest: their joint hash.
    """

    parts: tuple[str, ...]
    digest: str


class OccludeWorker(SingleWorker[OcclusionRun, Shard]):
    """Occludes images."""

    RESULT = OCCLUDED

    def __init__(self, job: Job[OcclusionRun], scan: ScanPatches | None) -> None:
        super().__init__(job)
        self.scan = scan
        [self.layer] = self.layers

    def compute_rows(self, picture: PreparedImage, row: Row, shard: Shard) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - not needed
        """The image's only row of `occlusions`."""
        spec, number = self.job.spec.occlude, self.layer.node
        image = self.input(picture.prepared[None])
        filled = make_fill(picture.prepared, spec.fill, spec.size)
        fill = self.input(filled[None])[0]
        names = self.job.model.class_names
        target = target_of(spec.target, row.label, names, self.network.nodes[self.network.output].shape[0])
        squares = Squares(spec.size, spec.stride, *image.shape[2:])
        maps = occlude(self.network, image, number, squares, fill, target)
        if not bool(torch.isfinite(maps.probability).all() and torch.isfinite(maps.activation).all()):
            raise NumericsError(
                f"image {picture.record.image_index}: the network outputs NaN or infinity; try other weights"
            )
        view = _View(self, maps, squares, names)
        yield {
            "image_index": picture.record.image_index,
            **view.numbers("predicted" if target is None else spec.target),
            **view.panels(picture.prepared, filled, image),
            "size": spec.size,
            "stride": spec.stride,
            "fill": str(spec.fill),
            "original": encode.patch(eight_bit(picture.prepared), "webp"),
        }

    def projection(self, image: Tensor, channel: int) -> np.ndarray[Any, Any] | None:
        """The display of the projection of the channel's strongest unit on the whole input; None if it has none."""
        if self.layer.obstacle:
            return None
        number = self.layer.node
        first, own = (torch.tensor([index], device=image.device) for index in (0, channel))
        wanted = Channels(first, own)
        tape = recording.record(self.network, image, {number: wanted}, Method.DECONVNET)
        signals, [box] = deconvnet.project(tape, number, tape.units[number], tape.values[number])
        return display(deconvnet.window(signals[0].cpu().numpy(), box, Box(0, 0, *image.shape[2:])))[0]

    def others(self, channel: int) -> list[np.ndarray[Any, Any]]:
        """Displays of the scan's projections of a channel, by rank."""
        wanted = [("layer", "==", self.layer.name), ("channel", "==", channel)]
        parts = self.scan.parts if self.scan else ()
        patches = [
            row for part in parts
            for row in rows.read_table(self.root, part, ["rank", "projection"], wanted).to_pylist()
            if row["projection"]
        ]  # fmt: skip
        first = sorted(patches, key=lambda row: int(row["rank"]))[:SCAN_PROJECTIONS]
        return [_decode(row["projection"]["bytes"]) for row in first]


@dataclass(frozen=True)
class _View:
    """One image's maps, as columns of the table."""

    worker: OccludeWorker
    maps: OcclusionMaps
    squares: Squares
    names: tuple[str, ...]

    def numbers(self, target: str) -> dict[str, Any]:
        """All columns but the panels."""
        maps, layer, predicted = self.maps, self.worker.layer, int(self.maps.probabilities.argmax())
        return {
            "layer": layer.name,
            "layer_index": layer.index,
            "channel": maps.channel,
            "activation": maps.total,
            "class_index": maps.target,
            "class_name": self._name(maps.target),
            "target": target,
            "probability": float(maps.probabilities[maps.target]),
            "predicted_index": predicted,
            "predicted_name": self._name(predicted),
            "rows": self.squares.rows,
            "cols": self.squares.columns,
            "activation_map": maps.activation.float().flatten().tolist(),
            "probability_map": maps.probability.flatten().tolist(),
            "class_map": maps.best.flatten().tolist(),
            "classes": [{"class_index": index, "class_name": self._name(index)} for index in self._classes()],
        }

    def panels(self, prepared: Tensor, filled: Tensor, image: Tensor) -> dict[str, bytes]:
        """The five panels."""
        maps, squares = self.maps, self.squares
        grid = Grid((squares.height, squares.width), squares.size, squares.stride, squares.rows, squares.columns)
        pixels, covered = eight_bit(prepared), eight_bit(filled)
        channel_name = f"{self.worker.layer.name}, channel {maps.channel}"
        names = [(index, self._name(index) or f"class {index}") for index in self._classes()]
        target = self._name(maps.target) or f"class {maps.target}"
        probability = maps.probability.cpu().numpy()
        return {
            "panel_image": panels.image_panel(pixels, covered, grid),
            "panel_activation": panels.map_panel(
                maps.activation.cpu().numpy(), grid, f"total activation of {channel_name}", "sum of the feature map"
            ),
            "panel_projection": self._projection_panel(image, channel_name),
            "panel_probability": panels.map_panel(probability, grid, f"probability of {target}", "probability"),
            "panel_class": panels.class_panel(maps.best.cpu().numpy(), names, grid, "most probable class"),
        }

    def _projection_panel(self, image: Tensor, channel_name: str) -> bytes:
        own, others = self.worker.projection(image, self.maps.channel), self.worker.others(self.maps.channel)
        if own is None:
            return panels.projection_panel([], f"{channel_name} has no projections")
        beside = ", beside its top images'" if others else ""
        return panels.projection_panel([own, *others], f"projection of {channel_name}{beside}")

    def _name(self, index: int) -> str | None:
        return self.names[index] if index < len(self.names) else None

    def _classes(self) -> list[int]:
        """The most probable classes over all positions, the most frequent first."""
        counts = Counter(self.maps.best.flatten().tolist())
        return sorted(counts, key=lambda index: (-counts[index], index))


def target_of(target: str, label: str | None, names: Sequence[str], outputs: int) -> int | None:
    """The class to measure; None for the predicted class, also if the label is not a class.

    Args:
        target: the spec's target: label, predicted, or a class name or number.
        label: the image's label.
        names: the model's class names.
        outputs: the model's number of outputs.

    Raises:
        UnknownClassError: the model does not have a class of this name or number.
    """
    if target in ("label", "predicted"):
        return names.index(label) if target == "label" and label in names else None
    if target in names:
        return names.index(target)
    if target.isdecimal() and int(target) < outputs:
        return int(target)
    raise UnknownClassError(target, outputs, names)


def make_fill(prepared: Tensor, fill: Fill, size: int) -> Tensor:
    """The content of the square: float32, of the image's shape, in 0 to 255; grey is 127.5."""
    pixels = prepared.float()
    if fill is Fill.GREY:
        return torch.full_like(pixels, 127.5)
    if fill is Fill.MEAN:
        return pixels.mean(dim=(1, 2), keepdim=True).expand_as(pixels)
    from torchvision.transforms.v2 import functional  # takes seconds to load

    reach = min(size, *pixels.shape[1:])  # of a wide box in a narrow input
    kernel = reach // 2 * 2 + 1
    return torch.as_tensor(functional.gaussian_blur(pixels, [kernel, kernel], [reach / 4, reach / 4]))


def _decode(encoded: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(encoded), formats=("WEBP", "PNG")) as opened:
        return np.array(opened.convert("RGB"))
